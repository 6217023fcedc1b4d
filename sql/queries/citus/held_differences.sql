-- held_differences: on a node, queries/control/held_differences.sql for the shards whose holds are all on the node
-- parameters: sender_id bigint
SELECT /* queries/citus/held_differences.sql */ sender_id, hold_id, kept, counted
FROM queuestats_local.held_differences(cast(:sender_id AS bigint)) AS held
WHERE queuestats_local.is_compared(sender_id)
  AND NOT EXISTS (
    SELECT
    FROM queuestats_local.arrived_shards AS arrived
      INNER JOIN queuestats_local.shards AS own ON own.shard = arrived.shard
    WHERE worker_hash(held.sender_id) BETWEEN own.lowest AND own.highest
  )
ORDER BY sender_id, hold_id
