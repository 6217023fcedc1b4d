-- distributed: whether Citus distributes a table; only for a database that has Citus
-- parameters: table_name text
SELECT /* queries/citus/distributed.sql */ count(*) > 0 AS is_distributed
FROM pg_catalog.pg_dist_partition
WHERE logicalrelid = to_regclass(cast(:table_name AS text))
