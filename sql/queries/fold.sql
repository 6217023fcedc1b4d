-- fold: moves pending deltas into the counters; no row while another fold is running
-- places: schema
-- parameters: max_deltas integer, mark_every double precision
SELECT /* queries/fold.sql */ folded, is_more
FROM
  "{schema}".fold(
    cast(:max_deltas AS integer),
    cast(:mark_every AS double precision)
  )
