-- other_cluster: jobs and deltas of the database cluster that a dump was taken from
-- A transaction id that this cluster has not given out yet belongs to another one: no fold takes such a delta.
-- parameters: none
SELECT /* conditions/other_cluster.sql */
  format('job %s waits for transaction %s of another cluster', id, settles_at) AS finding,
  format('queuestats jobs --cancel %s', id) AS command
FROM queuestats.jobs
WHERE finished_at IS NULL AND settles_at > pg_snapshot_xmax(pg_current_snapshot())
UNION ALL
SELECT
  format('%s deltas of sender %s are of another cluster', count(*), sender_id),
  format('queuestats verify --sender %s --repair', sender_id)
FROM queuestats.deltas
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
GROUP BY sender_id
ORDER BY finding
LIMIT 10
