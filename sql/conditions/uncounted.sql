-- uncounted: the messages are not counted yet, and answers come from scans
-- parameters: none
SELECT /* conditions/uncounted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE is_waiting AND NOT queuestats.is_distributed()
