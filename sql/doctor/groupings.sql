-- groupings: senders whose counts by one grouping set and by another do not add up to the same
-- This sees drift inside the counters without reading a single message; only verify sees all drift.
-- parameters: none
SELECT /* doctor/groupings.sql */
  'error' AS severity,
  format('the grouping sets of sender %s add up to %s and to %s', kept.sender_id, min(kept.total), max(kept.total))
    AS finding,
  format('Run queuestats verify --sender %s --repair.', kept.sender_id) AS advice
FROM (
  SELECT
    sender_id, grouping_set, sum(new + 3 * proc + 5 * retry + 7 * hold) AS weighted,
    sum(new + proc + retry + hold) AS total
  FROM queuestats.counters
  GROUP BY sender_id, grouping_set
) AS kept
GROUP BY kept.sender_id
HAVING min(kept.weighted) <> max(kept.weighted)
ORDER BY kept.sender_id
LIMIT 10
