-- untrusted: the counters may lack messages, and scans do not replace them
-- parameters: none
SELECT /* conditions/untrusted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE NOT is_waiting AND NOT queuestats.is_distributed()
