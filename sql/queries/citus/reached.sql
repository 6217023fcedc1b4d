-- reached: on a node, true if statements can read its shards through the parent table; otherwise an error (QS400)
-- After the first true result, all later results are true.
-- parameters: none
SELECT /* queries/citus/reached.sql */ are_known AS are_reached
FROM queuestats_local.arrivals()
