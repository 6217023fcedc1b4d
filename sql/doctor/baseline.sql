-- baseline: why the counters are not trusted
-- parameters: none
SELECT /* doctor/baseline.sql */
  CASE WHEN is_waiting THEN 'warning' ELSE 'error' END AS severity,
  format('%s: %s', reason, CASE WHEN is_waiting THEN 'every answer is a scan' ELSE 'nothing is answered' END)
    AS finding,
  CASE
    WHEN can_be_counted THEN 'The service counts all messages anew, while writers go on; queuestats migrate does too.'
    ELSE 'Run queuestats migrate: it switches the triggers on, and counts all messages anew, while writers go on.'
  END AS advice
FROM queuestats.why_uncounted()
