-- orphans: a row for each table that a move has left behind; the shard can't move back before it is dropped
-- parameters: none
SELECT /* bench/citus/orphans.sql */ object_name
FROM pg_dist_cleanup
