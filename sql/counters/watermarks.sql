-- trusted_watermarks: per hot sender (0: all senders), the transaction below which no delta is left, and the epoch
-- that is folded into.
-- A transaction id means nothing in another cluster. There (a restored dump, a replicated row) the row was written by
-- another transaction than it says, and "nothing is folded" is always true enough.
CREATE OR REPLACE VIEW queuestats.trusted_watermarks AS
SELECT
  sender_id, epoch, compacted_at,
  CASE WHEN xmin = written_by::xid THEN watermark ELSE '0'::xid8 END AS watermark
FROM queuestats.watermarks;
