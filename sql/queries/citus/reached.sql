-- reached: on a node of a cluster, true if its shards are reached through their parent; otherwise an error (QS400)
-- Once it is true, it stays true.
-- parameters: none
SELECT /* queries/citus/reached.sql */ are_known AS are_reached
FROM queuestats_local.arrivals()
