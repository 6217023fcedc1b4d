-- untrusted: the counters may lack messages, and no scan stands in for them
-- parameters: none
SELECT /* conditions/untrusted.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.why_uncounted()
WHERE NOT is_waiting AND NOT queuestats.is_distributed()
