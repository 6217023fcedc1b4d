-- raise_bounds: raises bounds that are too early, of the senders with the earliest ones; no row while a fold is at work
-- parameters: of_status text, max_senders integer
SELECT /* queries/raise_bounds.sql */ raised
FROM
  queuestats.raise_bounds(
    cast(:of_status AS text),
    cast(:max_senders AS integer)
  )
