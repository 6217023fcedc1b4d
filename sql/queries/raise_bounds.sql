-- raise_bounds: raises the earliest bounds to the first messages of their senders; no row while a fold is running
-- Times are text: a message may have a time that the driver cannot represent.
-- places: schema
-- parameters: of_status text, after text, after_sender bigint, max_senders integer
SELECT /* queries/raise_bounds.sql */
  raised,
  is_more,
  cast(last_bound AS text) AS last_bound,
  last_sender
FROM
  "{schema}".raise_bounds(
    cast(:of_status AS text),
    cast(cast(:after AS text) AS timestamptz),
    cast(:after_sender AS bigint),
    cast(:max_senders AS integer)
  )
