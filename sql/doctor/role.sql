-- role: rights and settings of the service's role that do not fit
-- parameters: service_role text
SELECT /* doctor/role.sql */ found.severity, found.finding, found.advice
FROM (
  SELECT
    'warning' AS severity,
    format('the role %s is a superuser', rolname) AS finding,
    format('ALTER ROLE %I NOSUPERUSER; it needs to read, and to fold.', rolname) AS advice
  FROM pg_roles
  WHERE rolname = cast(:service_role AS text) AND rolsuper
  UNION ALL
  SELECT
    'warning',
    format('the role %s may write to messages', rolname),
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON messages FROM %I', rolname)
  FROM pg_roles
  WHERE rolname = cast(:service_role AS text)
    AND NOT rolsuper
    AND rolname <> current_user
    AND has_table_privilege(oid, queuestats.messages_table(), 'INSERT, UPDATE, DELETE, TRUNCATE')
  UNION ALL
  SELECT
    'warning',
    format('the role %s has no %s of its own', role.rolname, wanted.name),
    format('ALTER ROLE %I SET %s = %L', role.rolname, wanted.name, wanted.value)
  FROM pg_roles AS role
    CROSS JOIN (
      VALUES ('statement_timeout', '15s'), ('lock_timeout', '5s'), ('idle_in_transaction_session_timeout', '30s'),
      ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('plan_cache_mode', 'force_generic_plan'),
      ('jit', 'off'), ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
      ('row_security', 'off')
    ) AS wanted (name, value)
  WHERE role.rolname = cast(:service_role AS text)
    AND role.rolname <> current_user
    AND NOT EXISTS (
      SELECT
      FROM pg_db_role_setting AS kept
        CROSS JOIN unnest(kept.setconfig) AS setting
      WHERE kept.setrole = role.oid AND starts_with(setting, wanted.name || '=')
    )
  UNION ALL
  SELECT
    'warning',
    format('the role %s is set to %s', role.rolname, setting),
    format(
      'ALTER ROLE %I SET plan_cache_mode = force_generic_plan: to plan each read anew halves their speed.', role.rolname
    )
  FROM pg_roles AS role
    JOIN pg_db_role_setting AS kept ON kept.setrole = role.oid
    CROSS JOIN unnest(kept.setconfig) AS setting
  WHERE role.rolname = cast(:service_role AS text) AND setting = 'plan_cache_mode=force_custom_plan'
) AS found
