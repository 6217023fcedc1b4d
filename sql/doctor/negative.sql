-- negative: folded counts below zero, which only drift can leave
-- A single epoch may be below zero; both together may not, once their deltas are folded.
-- parameters: none
SELECT /* doctor/negative.sql */
  'error' AS severity,
  format('sender %s has a count below zero', kept.sender_id) AS finding,
  format('Run queuestats verify --sender %s --repair, and look for writes that bypass the triggers.', kept.sender_id)
    AS advice
FROM (
  SELECT sender_id, sum(new) AS new, sum(proc) AS proc, sum(retry) AS retry, sum(hold) AS hold
  FROM (
    SELECT sender_id, new, proc, retry, hold
    FROM queuestats.counters
    WHERE grouping_set = 'total'
    UNION ALL
    SELECT sender_id, new, proc, retry, hold
    FROM queuestats.deltas
  ) AS part
  GROUP BY sender_id
) AS kept
WHERE kept.new < 0 OR kept.proc < 0 OR kept.retry < 0 OR kept.hold < 0
ORDER BY kept.sender_id
LIMIT 10
