-- rights: what the service's role needs and does not have: to log in, to read, to fold
-- parameters: service_role text
SELECT /* doctor/rights.sql */
  'error' AS severity,
  CASE
    WHEN role.oid IS NULL THEN format('the role %s is missing', named.service_role)
    ELSE format('the role %s lacks %s', named.service_role, needed.right_)
  END AS finding,
  'Run queuestats migrate, which creates the role and gives it its rights.' AS advice
FROM (SELECT cast(:service_role AS text) AS service_role) AS named
  LEFT JOIN pg_roles AS role ON role.rolname = named.service_role
  LEFT JOIN LATERAL (
    SELECT 'the attribute LOGIN' AS right_
    WHERE NOT role.rolcanlogin
    UNION ALL
    SELECT format('CONNECT on the database %s', current_database())
    WHERE NOT has_database_privilege(role.oid, current_database(), 'CONNECT')
    UNION ALL
    SELECT format('USAGE on the schema %s', nspname)
    FROM pg_namespace
    WHERE nspname = 'queuestats' AND NOT has_schema_privilege(role.oid, oid, 'USAGE')
    UNION ALL
    SELECT format('SELECT on queuestats.%s', relname)
    FROM pg_class
    WHERE relnamespace = cast('queuestats' AS regnamespace)
      AND relkind IN ('r', 'v')
      AND relname NOT IN ('fold_lock', 'adopted_columns')
      AND NOT has_table_privilege(role.oid, oid, 'SELECT')
    UNION ALL
    SELECT format('EXECUTE on queuestats.%s', proname)
    FROM pg_proc
    WHERE pronamespace = cast('queuestats' AS regnamespace)
      AND proname IN (
        'fold', 'compact', 'audit', 'follow_partitions', 'recount_if_needed', 'start_job', 'step_job', 'expire_holds',
        'cancel_job'
      )
      AND NOT has_function_privilege(role.oid, oid, 'EXECUTE')
  ) AS needed ON true
WHERE role.oid IS NULL OR needed.right_ IS NOT NULL
