-- require_control: an error (QS409) if the holds and jobs of a shard are not on this node, or not all of them are
-- parameters: shard bigint
SELECT /* queries/citus/require_control.sql */ queuestats_local.require_control(cast(:shard AS bigint))
