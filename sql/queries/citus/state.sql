-- state: whether this database has Citus, and whether messages is distributed by it
-- Citus keeps its distributed tables in pg_catalog.pg_dist_partition: elsewhere there is none.
-- parameters: none
SELECT /* queries/citus/state.sql */
  to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS has_citus,
  queuestats.is_distributed() AS is_distributed,
  coalesce(queuestats.messages_table() = to_regclass('public.messages'), false) AS is_in_public
