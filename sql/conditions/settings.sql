-- settings: settings of the service's role make its statements slow, or leave them without limits
-- The effective setting is that of the role in this database, else that of the role, else that of the database, else
-- that of the server.
-- places: schema
-- parameters: service_role text
SELECT /* conditions/settings.sql */
  format('the role %s runs with %s = %s', effective.role, effective.name, effective.value) AS finding,
  format('ALTER ROLE %I IN DATABASE %I SET %I = %L', effective.role, current_database(), effective.name, wanted.value)
    AS command
FROM "{schema}".effective_settings(cast(:service_role AS text)) AS effective
  INNER JOIN (
    VALUES ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('enable_indexscan', 'on'),
    ('plan_cache_mode', 'force_generic_plan'), ('jit', 'off'), ('row_security', 'off'), ('statement_timeout', '15s'),
    ('lock_timeout', '5s'), ('idle_in_transaction_session_timeout', '30s'), ('temp_file_limit', '-1')
  ) AS wanted (name, value) ON wanted.name = effective.name
WHERE CASE
    WHEN effective.time_limit IS NOT NULL THEN effective.time_limit = interval '0'
    WHEN wanted.name = 'temp_file_limit' THEN effective.value = '0'
    WHEN wanted.value IN ('on', 'off') THEN cast(effective.value AS boolean) <> cast(wanted.value AS boolean)
    ELSE effective.value <> wanted.value
  END
ORDER BY effective.name
