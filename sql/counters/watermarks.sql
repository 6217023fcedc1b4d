-- trusted_watermarks: per hot sender (0: all senders), the watermark, the transactions below it that were still
-- running, and the epoch that is folded into. A delta whose transaction is below the watermark and not among the
-- running ones is in the counters.
-- A transaction id means nothing in another cluster. There (a restored dump, a replicated row) the row was written by
-- another transaction than it says, or by one that has not begun yet, and "nothing is folded" is always true enough.
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
