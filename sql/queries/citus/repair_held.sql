-- repair_held: on a node, queries/control/repair_held.sql
-- parameters: sender_id bigint, actor_name text
SELECT /* queries/citus/repair_held.sql */
  queuestats_local.repair_held(cast(:sender_id AS bigint), cast(:actor_name AS text))
