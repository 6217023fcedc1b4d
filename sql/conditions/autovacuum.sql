-- autovacuum: settings prevent the removal of dead rows of a queue
-- The value of the server is visible only if this session has no other value. A setting of a role counts if the role
-- writes messages or folds. Options of tables and roles are booleans in any of PostgreSQL's spellings.
-- places: schema
-- parameters: none
SELECT /* conditions/autovacuum.sql */ found.finding, found.command
FROM (
  SELECT
    format(
      '%s is off on this server%s', name, CASE source WHEN 'command line' THEN ', by an option of its command line' END
    ) AS finding,
    -- The command line takes precedence over the configuration.
    CASE
      WHEN source <> 'command line' THEN format('ALTER SYSTEM SET %I = on; SELECT pg_reload_conf()', name)
    END AS command
  FROM pg_settings
  WHERE name IN ('autovacuum', 'track_counts')
    AND setting = 'off'
    AND source NOT IN ('global', 'database', 'user', 'database user', 'client', 'session')
  UNION ALL
  SELECT
    format('track_counts is off for %s', given.place),
    format('ALTER %s RESET track_counts', given.place)
  FROM pg_db_role_setting AS standing
    CROSS JOIN unnest(standing.setconfig) AS setting
    LEFT JOIN pg_database ON pg_database.oid = standing.setdatabase
    CROSS JOIN LATERAL (
      SELECT
        concat_ws(
          ' IN ',
          CASE
            WHEN standing.setrole <> 0 THEN format('ROLE %I', pg_get_userbyid(standing.setrole))
            WHEN standing.setdatabase = 0 THEN 'ROLE ALL'
          END,
          'DATABASE ' || quote_ident(datname)
        ) AS place
    ) AS given
  WHERE standing.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND starts_with(setting, 'track_counts=')
    AND NOT cast(substr(setting, 14) AS boolean)
    AND (
      standing.setrole = 0
      OR has_schema_privilege(standing.setrole, '"{schema}"', 'USAGE')
      OR has_table_privilege(standing.setrole, "{schema}".messages_table(), 'INSERT, UPDATE, DELETE')
    )
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
      class.relnamespace = '"{schema}"'::regnamespace
      OR class.oid = "{schema}".messages_table()
      OR pg_partition_root(class.oid) = "{schema}".messages_table()
    )
) AS found
ORDER BY found.finding
