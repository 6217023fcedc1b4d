-- clock: a server whose clock and ours differ
-- parameters: our_time timestamptz
SELECT /* doctor/clock.sql */
  'warning' AS severity,
  format('the clocks of the server and of this machine are %s s apart', round(apart.seconds)) AS finding,
  'Synchronise them: next_attempt_at is compared with the clock.' AS advice
FROM (
  SELECT abs(extract(EPOCH FROM clock_timestamp() - cast(:our_time AS timestamptz))) AS seconds
) AS apart
WHERE apart.seconds > 5
