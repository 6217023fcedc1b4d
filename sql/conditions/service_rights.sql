-- service_rights: the service's role lacks a right that it needs: to connect, to read or to fold
-- parameters: service_role text
SELECT /* conditions/service_rights.sql */
  CASE
    WHEN role.oid IS NULL THEN format('the role %s is missing', named.service_role)
    ELSE format('the role %s lacks %s', named.service_role, needed.privilege)
  END AS finding,
  NULL AS command
FROM (SELECT cast(:service_role AS text) AS service_role) AS named
  LEFT JOIN pg_roles AS role ON role.rolname = named.service_role
  LEFT JOIN LATERAL (
    SELECT format('CONNECT on the database %s', current_database()) AS privilege
    WHERE NOT has_database_privilege(role.oid, current_database(), 'CONNECT')
    UNION ALL
    SELECT format('USAGE on the schema %s', nspname)
    FROM pg_namespace
    WHERE NOT has_schema_privilege(role.oid, oid, 'USAGE')
      AND oid IN (
        'queuestats'::regnamespace,
        -- The schema of the enumeration of statuses.
        (
          SELECT typnamespace
          FROM pg_attribute
            INNER JOIN pg_type ON pg_type.oid = atttypid
          WHERE attrelid = to_regclass('queuestats.queued_messages') AND attname = 'status'
        )
      )
    UNION ALL
    SELECT format('SELECT on queuestats.%s', relname)
    FROM pg_class
    WHERE relnamespace = 'queuestats'::regnamespace
      AND relkind IN ('r', 'p', 'v')
      -- The service reads partitions of the history through their parent.
      AND NOT relispartition
      AND relname <> 'fold_lock'
      AND NOT has_table_privilege(role.oid, oid, 'SELECT')
    UNION ALL
    SELECT 'INSERT on queuestats.audit_log'
    WHERE NOT has_table_privilege(role.oid, to_regclass('queuestats.audit_log'), 'INSERT')
    UNION ALL
    SELECT format('EXECUTE on %s', oid::regprocedure)
    FROM pg_proc
    WHERE pronamespace = 'queuestats'::regnamespace
      AND proname IN (
        'fold', 'compact', 'audit', 'follow_partitions', 'recount_if_needed', 'begin_job', 'start_job',
        'advance_job', 'step_job', 'next_job',
        'postpone_job', 'preview_job', 'expire_holds', 'held_differences',
        'cancel_job', 'prune', 'note_task', 'prove_sample', 'record_drift', 'mapped_messages', 'oldest_message',
        'recount', 'unfit_mapping', 'roll_up_history'
      )
      AND NOT has_function_privilege(role.oid, oid, 'EXECUTE')
  ) AS needed ON true
WHERE role.oid IS NULL OR needed.privilege IS NOT NULL
ORDER BY finding
