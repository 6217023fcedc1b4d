-- state: whether this database has Citus, and whether Citus distributes messages
-- Only a database with Citus has pg_catalog.pg_dist_partition, the catalog of the distributed tables.
-- parameters: none
SELECT /* queries/citus/state.sql */
  to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS has_citus,
  queuestats.is_distributed() AS is_distributed,
  coalesce(queuestats.messages_table() = to_regclass('public.messages'), false) AS is_in_public
