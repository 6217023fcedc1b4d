-- differences: on a node of a cluster, what queries/differences.sql is on one machine: of every shard that is there
-- parameters: sender_id bigint
SELECT /* queries/citus/differences.sql */ *
FROM queuestats_node.audit(cast(:sender_id AS bigint))
