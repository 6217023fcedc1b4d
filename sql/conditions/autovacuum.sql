-- autovacuum: settings that let dead rows pile up in a queue
-- An option of a table is a boolean in any of PostgreSQL's spellings.
-- parameters: none
SELECT /* conditions/autovacuum.sql */ found.finding, found.command
FROM (
  SELECT format('%s is off on this server', name) AS finding, format('ALTER SYSTEM SET %I = on', name) AS command
  FROM pg_settings
  WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off'
  UNION ALL
  SELECT
    format('autovacuum is off for %s', class.oid::regclass),
    format('ALTER TABLE %s RESET (autovacuum_enabled)', class.oid::regclass)
  FROM pg_class AS class
    CROSS JOIN pg_options_to_table(class.reloptions) AS option
  WHERE option.option_name = 'autovacuum_enabled'
    AND NOT cast(option.option_value AS boolean)
    AND class.relkind IN ('r', 'm')
    AND (
      class.relnamespace = 'queuestats'::regnamespace
      OR class.oid = queuestats.messages_table()
      OR pg_partition_root(class.oid) = queuestats.messages_table()
    )
) AS found
ORDER BY found.finding
