-- autovacuum: settings that let dead rows pile up in a queue
-- parameters: none
SELECT /* doctor/autovacuum.sql */ found.severity, found.finding, found.advice
FROM (
  SELECT
    'error' AS severity,
    format('%s is off', name) AS finding,
    'Switch it on: dead rows of a queue are never removed without it.' AS advice
  FROM pg_settings
  WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off'
  UNION ALL
  SELECT
    'error',
    format('autovacuum is off for %s', relname),
    format('ALTER TABLE %I RESET (autovacuum_enabled)', relname)
  FROM pg_class
  WHERE oid IN (queuestats.messages_table(), 'queuestats.counters'::regclass, 'queuestats.deltas'::regclass)
    AND reloptions && ARRAY['autovacuum_enabled=off', 'autovacuum_enabled=false']
) AS found
