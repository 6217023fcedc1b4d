-- dead_tuples: tables with more dead rows than vacuum should leave
-- parameters: none
SELECT /* doctor/dead_tuples.sql */
  'warning' AS severity,
  format(
    '%s has %s dead rows beside %s live ones; last vacuum %s',
    relname, n_dead_tup, n_live_tup,
    coalesce(cast(date_trunc('second', greatest(last_vacuum, last_autovacuum)) AS text), 'never')
  ) AS finding,
  format('VACUUM %I; if they stay, something old holds them (see old_snapshot).', relname) AS advice
FROM pg_stat_user_tables
WHERE schemaname IN ('public', 'queuestats')
  AND relname IN ('messages', 'counters', 'deltas', 'watermarks')
  AND n_dead_tup > 50000
  AND n_dead_tup > 0.3 * n_live_tup
ORDER BY n_dead_tup DESC
