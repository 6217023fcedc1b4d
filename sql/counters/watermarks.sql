-- trusted_watermarks: for each hot sender (0: all senders), the watermark, the transactions below it that were still
-- running, and the current epoch. A delta is in the counters if its transaction is below the watermark and not among
-- the running ones.
-- A transaction id is not valid in another cluster, for example in a restored dump or a replicated row: there another
-- transaction has that id, or none yet. For such a row, the view says that nothing is folded, which is always safe.
-- places: schema
CREATE OR REPLACE VIEW "{schema}".trusted_watermarks AS
SELECT
  sender_id, epoch, compacted_at,
  CASE WHEN is_ours THEN watermark ELSE '0'::xid8 END AS watermark,
  CASE WHEN is_ours THEN running ELSE '{}'::xid8[] END AS running
FROM (
  SELECT *, xmin = written_by::xid AND written_by < pg_snapshot_xmax(pg_current_snapshot()) AS is_ours
  FROM "{schema}".watermarks
) AS known;
