-- uncounted: the messages have not been counted yet, so queries scan the messages
-- parameters: none
SELECT /* conditions/uncounted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE is_waiting AND NOT queuestats.is_distributed()
