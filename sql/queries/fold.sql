-- fold: moves pending deltas into the counters; no row while another folder is at work
-- parameters: max_deltas integer, mark_every double precision, compact_after interval
SELECT /* queries/fold.sql */ folded, is_more
FROM
  queuestats.fold(
    cast(:max_deltas AS integer),
    cast(:mark_every AS double precision),
    cast(:compact_after AS interval)
  )
