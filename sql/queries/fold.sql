-- fold: moves pending deltas into the counters; no row while another folder is at work
-- parameters: max_deltas integer, mark_every double precision, roll_after interval
SELECT /* queries/fold.sql */ folded, is_more
FROM
  public.fold(
    cast(:max_deltas AS integer),
    cast(:mark_every AS double precision),
    cast(:roll_after AS interval)
  )
