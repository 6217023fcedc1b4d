-- believed_horizons: per hot sender (0: all senders), the transaction below which no delta is left, and the generation
-- that is folded into.
-- A transaction id means nothing in another cluster. There (a restored dump, a replicated row) the row was written by
-- another transaction than it says, and "nothing is folded" is always true enough.
CREATE OR REPLACE VIEW public.believed_horizons AS
SELECT
  sender_id, generation, rolled_at,
  CASE WHEN xmin = written_by::xid THEN horizon ELSE '0'::xid8 END AS horizon
FROM public.horizons;
