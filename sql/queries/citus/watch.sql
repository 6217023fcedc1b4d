-- watch: on a node of a cluster, what queries/watch.sql is on one machine: `pending_deltas` of all shards together
-- parameters: most_deltas bigint
SELECT /* queries/citus/watch.sql */
  cast(coalesce(sum(seen.pending_deltas), 0) AS bigint) AS pending_deltas,
  coalesce(max(seen.oldest_snapshot_transactions), 0) AS oldest_snapshot_transactions,
  max(seen.oldest_snapshot_holder) AS oldest_snapshot_holder
FROM
  queuestats_node.run(
    'watch', ARRAY[cast(cast(:most_deltas AS bigint) AS text)], ARRAY(SELECT queuestats_node.counted()), true
  ) AS found
  CROSS JOIN
    LATERAL
    jsonb_to_record(found) AS seen (
      pending_deltas bigint, oldest_snapshot_transactions bigint, oldest_snapshot_holder text
    )
