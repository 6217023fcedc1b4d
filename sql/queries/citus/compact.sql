-- compact: on a node of a cluster, what queries/compact.sql is on one machine: of every shard that is there
-- parameters: max_counters integer, compact_after interval
SELECT /* queries/citus/compact.sql */ compacted, is_more
FROM
  queuestats_node.compact(
    cast(:max_counters AS integer),
    cast(:compact_after AS interval)
  )
