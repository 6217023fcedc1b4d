-- differences: on a node, queries/differences.sql for the counted shards of the node
-- parameters: sender_id bigint
SELECT /* queries/citus/differences.sql */ *
FROM queuestats_local.audit_shards(cast(:sender_id AS bigint))
