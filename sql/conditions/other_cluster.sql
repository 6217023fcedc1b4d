-- other_cluster: deltas come from the database cluster of which a dump was restored
-- A transaction id that this cluster has not assigned yet comes from another cluster. No fold takes such a delta.
-- parameters: none
SELECT /* conditions/other_cluster.sql */
  format('%s deltas of sender %s are of another cluster', count(*), sender_id) AS finding,
  format('queuestats verify --sender %s --repair', sender_id) AS command
FROM queuestats.deltas
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
GROUP BY sender_id
ORDER BY finding
LIMIT 10
