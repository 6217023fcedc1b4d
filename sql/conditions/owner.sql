-- owner: another role owns tables or functions of the service, or the owner lacks rights on messages
-- Functions run with the rights of their owner.
-- places: schema
-- parameters: none
SELECT /* conditions/owner.sql */ found.finding, found.command
FROM (
  SELECT
    format('the function %s belongs to %s', oid::regprocedure, proowner::regrole) AS finding,
    format('ALTER FUNCTION %s OWNER TO %s', oid::regprocedure, owner.role) AS command
  FROM pg_proc
    CROSS JOIN (SELECT relowner::regrole AS role FROM pg_class WHERE oid = '"{schema}".counters'::regclass) AS owner
  WHERE pronamespace = '"{schema}"'::regnamespace AND proowner <> owner.role
  UNION ALL
  SELECT
    format('the table %s belongs to %s', oid::regclass, relowner::regrole),
    format('ALTER TABLE %s OWNER TO %s', oid::regclass, owner.role)
  FROM pg_class
    CROSS JOIN (SELECT relowner::regrole AS role FROM pg_class WHERE oid = '"{schema}".counters'::regclass) AS owner
  WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'v') AND relowner <> owner.role
  UNION ALL
  SELECT
    format('the owner %s lacks %s on %s', owner.role, needed.privilege, "{schema}".messages_table()),
    format('GRANT %s ON %s TO %s', needed.privilege, "{schema}".messages_table(), owner.role)
  FROM (SELECT relowner::regrole AS role FROM pg_class WHERE oid = '"{schema}".counters'::regclass) AS owner
    CROSS JOIN (VALUES ('SELECT'), ('UPDATE'), ('DELETE')) AS needed (privilege)
  WHERE NOT has_table_privilege(owner.role, "{schema}".messages_table(), needed.privilege)
) AS found
ORDER BY found.finding
