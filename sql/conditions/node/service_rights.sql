-- service_rights: on a node, the service's role lacks a right that citus/grants.sql grants, or to connect
-- places: schema
-- parameters: service_role text
SELECT /* conditions/node/service_rights.sql */
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
    WHERE oid IN ('"{schema}"'::regnamespace, 'public'::regnamespace)
      AND NOT has_schema_privilege(role.oid, oid, 'USAGE')
    UNION ALL
    SELECT format('SELECT on %s', oid::regclass)
    FROM pg_class
    WHERE relnamespace = '"{schema}"'::regnamespace
      AND relname IN (
        'counters', 'sender_totals', 'deltas', 'watermarks', 'trusted_watermarks', 'shards', 'keys',
        'queued_messages', 'bounds', 'history', 'history_changes', 'history_steps', 'history_spans',
        'history_begins', 'objects', 'adopted', 'repeatable_migrations', 'holds', 'held_messages', 'jobs',
        'audit_log', 'arrived_shards'
      )
      AND NOT has_table_privilege(role.oid, oid, 'SELECT')
    UNION ALL
    SELECT format('EXECUTE on %s', oid::regprocedure)
    FROM pg_proc
    WHERE pronamespace = '"{schema}"'::regnamespace
      AND proname IN (
        'fold', 'compact', 'settle', 'shard_of', 'has_stayed', 'messages_here', 'roll_up_history',
        'raise_bounds', 'oldest_senders', 'audit_shards', 'begin_job', 'advance_job', 'next_job',
        'postpone_job', 'cancel_job', 'expire_holds', 'preview_job', 'prune', 'held_differences',
        'require_control', 'leaving', 'receive', 'leave', 'complete', 'unproved', 'known'
      )
      AND NOT has_function_privilege(role.oid, oid, 'EXECUTE')
  ) AS needed ON true
WHERE role.oid IS NULL OR needed.privilege IS NOT NULL
ORDER BY finding
