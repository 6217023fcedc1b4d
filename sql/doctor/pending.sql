-- pending: deltas that pile up, or wait for a folder that does not come
-- parameters: none
SELECT /* doctor/pending.sql */
  CASE WHEN pending.deltas > 100000 THEN 'error' ELSE 'warning' END AS severity,
  format(
    '%s deltas wait to be folded, the oldest since %s transactions',
    pending.deltas,
    cast(cast(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) - pending.oldest
  ) AS finding,
  'Answers stay exact but become slower. Is the service running? By hand, queuestats fold.' AS advice
FROM (
  SELECT count(*) AS deltas, min(cast(cast(xid AS text) AS bigint)) AS oldest
  FROM queuestats.deltas
) AS pending
WHERE pending.deltas > 5000
