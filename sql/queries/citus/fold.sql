-- fold: on a node of a cluster, what queries/fold.sql is on one machine: of every shard that is there
-- parameters: max_deltas integer, mark_every double precision
SELECT /* queries/citus/fold.sql */ folded, is_more
FROM
  queuestats_node.fold(
    cast(:max_deltas AS integer),
    cast(:mark_every AS double precision)
  )
