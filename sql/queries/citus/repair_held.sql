-- repair_held: on a node of a cluster, what queries/control/repair_held.sql is on one machine
-- parameters: sender_id bigint, actor_name text
SELECT /* queries/citus/repair_held.sql */
  queuestats_local.repair_held(cast(:sender_id AS bigint), cast(:actor_name AS text))
