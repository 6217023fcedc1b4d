-- other_cluster: deltas were written in another database cluster, and came with a restored dump
-- A transaction id that this cluster has not assigned yet comes from another cluster. No fold takes such a delta.
-- parameters: none
SELECT /* conditions/other_cluster.sql */
  format('%s deltas of sender %s come from another database cluster', count(*), sender_id) AS finding,
  format('queuestats verify --sender %s --repair', sender_id) AS command
FROM queuestats.deltas
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
GROUP BY sender_id
ORDER BY finding
LIMIT 10
