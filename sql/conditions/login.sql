-- login: the service's role can't open the connections that the service needs
-- connections: the number of connections that one instance of the service opens, with all its workers. CONNECTION LIMIT
-- does not apply to superusers.
-- parameters: service_role text, connections integer
SELECT /* conditions/login.sql */ limited.finding, limited.command
FROM pg_roles AS role
  INNER JOIN pg_database AS own ON own.datname = current_database()
  CROSS JOIN LATERAL (
    VALUES
    (
      NOT role.rolcanlogin,
      format('the role %s may not log in', role.rolname),
      format('ALTER ROLE %I LOGIN', role.rolname)
    ),
    (
      role.rolvaliduntil <= now(),
      format('the password of the role %s has been invalid since %s', role.rolname, role.rolvaliduntil),
      format('ALTER ROLE %I VALID UNTIL ''infinity''', role.rolname)
    ),
    (
      NOT role.rolsuper AND role.rolconnlimit BETWEEN 0 AND cast(:connections AS integer) - 1,
      format(
        'the role %s may open %s connections, and one instance opens up to %s',
        role.rolname, role.rolconnlimit, cast(:connections AS integer)
      ),
      format('ALTER ROLE %I CONNECTION LIMIT -1', role.rolname)
    ),
    (
      NOT role.rolsuper AND own.datconnlimit BETWEEN 0 AND cast(:connections AS integer) - 1,
      format(
        'the database %s allows %s connections, and one instance opens up to %s',
        own.datname, own.datconnlimit, cast(:connections AS integer)
      ),
      format('ALTER DATABASE %I CONNECTION LIMIT -1', own.datname)
    )
  ) AS limited (is_so, finding, command)
WHERE role.rolname = cast(:service_role AS text) AND limited.is_so
