-- uncounted: the messages have not been counted yet, and scans answer requests
-- parameters: none
SELECT /* conditions/uncounted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE is_waiting AND NOT queuestats.is_distributed()
