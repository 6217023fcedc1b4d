-- other_cluster: deltas are from the database cluster that a dump was taken from
-- A transaction id that this cluster has not given out yet belongs to another one: no fold takes such a delta.
-- parameters: none
SELECT /* conditions/other_cluster.sql */
  format('%s deltas of sender %s are of another cluster', count(*), sender_id) AS finding,
  format('queuestats verify --sender %s --repair', sender_id) AS command
FROM queuestats.deltas
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
GROUP BY sender_id
ORDER BY finding
LIMIT 10
