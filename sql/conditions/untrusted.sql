-- untrusted: the counters may lack messages, and the service does not scan the messages instead
-- parameters: none
SELECT /* conditions/untrusted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE NOT is_waiting AND NOT queuestats.is_distributed()
