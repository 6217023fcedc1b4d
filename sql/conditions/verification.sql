-- verification: the last verify of all senders found differences, or was more than 30 days ago
-- parameters: none
SELECT /* conditions/verification.sql */
  CASE
    WHEN last.messages > 0 THEN format('verify found %s differences at %s', last.messages, last.at)
    WHEN last.at IS NULL THEN format('all senders were counted at %s, and never verified since', baseline.counted_at)
    ELSE format('verify last compared all senders at %s', last.at)
  END AS finding,
  'queuestats verify' AS command
FROM queuestats.baseline
  LEFT JOIN LATERAL (
    SELECT at, messages
    FROM queuestats.audit_log
    WHERE action = 'verify' AND sender_id = 0
    ORDER BY id DESC
    LIMIT 1
  ) AS last ON true
WHERE last.messages > 0 OR greatest(baseline.counted_at, last.at) < now() - interval '30 days'
