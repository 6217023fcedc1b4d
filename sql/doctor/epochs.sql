-- epochs: counters that no reader finds, because their epoch is not the sender's
-- parameters: none
SELECT /* doctor/epochs.sql */
  'error' AS severity,
  format('sender %s has counters of the epoch %s, which nobody reads', counters.sender_id, counters.epoch) AS finding,
  format('Run queuestats verify --sender %s --repair.', counters.sender_id) AS advice
FROM queuestats.counters
  LEFT JOIN queuestats.watermarks ON watermarks.sender_id = counters.sender_id
WHERE counters.epoch <> 0 AND counters.epoch IS DISTINCT FROM watermarks.epoch
GROUP BY counters.sender_id, counters.epoch
ORDER BY counters.sender_id, counters.epoch
LIMIT 10
