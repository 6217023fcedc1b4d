-- databases: the statements that create and drop the scratch database of a benchmark on a node
-- parameters: database text
SELECT /* bench/citus/databases.sql */
  format('CREATE DATABASE %I', cast(:database AS text)) AS creating,
  format('DROP DATABASE IF EXISTS %I WITH (FORCE)', cast(:database AS text)) AS dropping
