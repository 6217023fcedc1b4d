-- differences: on a node of a cluster, what queries/differences.sql is on one machine: of the shards that are counted
-- parameters: sender_id bigint
SELECT /* queries/citus/differences.sql */ *
FROM queuestats_local.audit_shards(cast(:sender_id AS bigint))
