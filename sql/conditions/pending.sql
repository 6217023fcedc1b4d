-- pending: deltas are written faster than they are folded
-- places: schema
-- parameters: none
SELECT /* conditions/pending.sql */
  format(
    '%s deltas are pending, the oldest since %s transactions', pending.deltas,
    cast(cast(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) - pending.oldest
  ) AS finding,
  'queuestats fold' AS command
FROM (
  SELECT count(*) AS deltas, min(cast(cast(xid AS text) AS bigint)) AS oldest
  FROM "{schema}".deltas
) AS pending
WHERE pending.deltas > 5000
