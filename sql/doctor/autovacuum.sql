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
  WHERE oid IN ('public.messages'::regclass, 'queuestats.counters'::regclass, 'queuestats.deltas'::regclass)
    AND reloptions && ARRAY['autovacuum_enabled=off', 'autovacuum_enabled=false']
  UNION ALL
  SELECT
    'note',
    format('messages has about %s rows and is vacuumed when a fifth of them is dead', cast(reltuples AS bigint)),
    'ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.02)'
  FROM pg_class
  WHERE oid = 'public.messages'::regclass
    AND reltuples > 1000000
    AND cast(current_setting('autovacuum_vacuum_scale_factor') AS double precision) >= 0.2
    AND NOT coalesce(array_to_string(reloptions, ' '), '') LIKE '%autovacuum_vacuum_scale_factor%'
  UNION ALL
  SELECT
    'note',
    format('autovacuum looks only every %s s', setting),
    'autovacuum_naptime = 15s suits a busy queue.'
  FROM pg_settings
  WHERE name = 'autovacuum_naptime' AND cast(setting AS integer) > 60
) AS found
