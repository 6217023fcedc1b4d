-- made: whether this node has its schema and tables
-- parameters: none
SELECT /* citus/made.sql */ to_regnamespace('queuestats_local') IS NOT NULL AS is_made
