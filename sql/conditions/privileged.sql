-- privileged: the service's role is a superuser, or may write to messages and does not own the table
-- parameters: service_role text
SELECT /* conditions/privileged.sql */ found.finding, found.command
FROM (
  SELECT
    format('the role %s is a superuser', rolname) AS finding,
    format('ALTER ROLE %I NOSUPERUSER', rolname) AS command
  FROM pg_roles
  WHERE rolname = cast(:service_role AS text) AND rolsuper
  UNION ALL
  SELECT
    format('the role %s may write to %s', role.rolname, class.oid::regclass),
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %s FROM %I', class.oid::regclass, role.rolname)
  FROM pg_roles AS role
    INNER JOIN pg_class AS class ON class.oid = queuestats.messages_table() AND class.relowner <> role.oid
  WHERE role.rolname = cast(:service_role AS text)
    AND NOT role.rolsuper
    AND has_table_privilege(role.oid, class.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
) AS found
