-- raise_bounds: raises bounds that are too early, of the senders with the earliest ones; no row while a fold is at work
-- parameters: of_status text, after timestamp with time zone, after_sender bigint, max_senders integer
SELECT /* queries/raise_bounds.sql */
  raised,
  is_more,
  last_bound,
  last_sender
FROM
  queuestats.raise_bounds(
    cast(:of_status AS text),
    cast(:after AS timestamp with time zone),
    cast(:after_sender AS bigint),
    cast(:max_senders AS integer)
  )
