-- baseline: counters that do not hold all messages yet
-- parameters: none
SELECT /* doctor/baseline.sql */
  'warning' AS severity,
  'the counters have no baseline: every answer is a scan' AS finding,
  'Run queuestats migrate: it counts all messages once, while writers go on.' AS advice
WHERE NOT EXISTS (SELECT FROM queuestats.baseline)
