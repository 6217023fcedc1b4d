-- drift: a few senders, taken by chance, whose counts differ from a recount of their messages
-- A look, not a proof: it takes ten senders of at most 100,000 messages; verify recounts everything.
-- parameters: none
SELECT /* doctor/drift.sql */
  'error' AS severity,
  format('%s counts of sender %s differ from a recount of its messages', audited.differences, sample.sender_id)
    AS finding,
  'Run queuestats verify --repair, and look for writes that bypass the triggers.' AS advice
FROM (
  SELECT sender_id
  FROM queuestats.counters
  WHERE "grouping" = 7 AND epoch = 0 AND new + proc + retry + hold <= 100000
  ORDER BY random()
  LIMIT 10
) AS sample
  CROSS JOIN LATERAL (
    SELECT count(*) AS differences
    FROM queuestats.audit(sample.sender_id)
  ) AS audited
WHERE audited.differences > 0
ORDER BY sample.sender_id
