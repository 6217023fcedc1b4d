-- compact: moves old epochs of hot senders into epoch 0; no row while a fold or another compact is running
-- places: schema
-- parameters: max_counters integer, compact_after interval
SELECT /* queries/compact.sql */ compacted, is_more
FROM
  "{schema}".compact(
    cast(:max_counters AS integer),
    cast(:compact_after AS interval)
  )
