-- login: the service's role can't open the connections that the service needs
-- connections: how many one process opens. has_tried: false where the caller is connected as this role.
-- parameters: service_role text, connections integer
SELECT /* conditions/login.sql */ format('the role %s %s', role.rolname, limited.finding) AS finding, limited.command
FROM pg_roles AS role
  CROSS JOIN LATERAL (
    VALUES
    (
      NOT role.rolcanlogin,
      'may not log in', format('ALTER ROLE %I LOGIN', role.rolname)
    ),
    (
      role.rolvaliduntil <= now(),
      format('has a password that is not valid since %s', role.rolvaliduntil),
      format('ALTER ROLE %I VALID UNTIL ''infinity''', role.rolname)
    ),
    (
      role.rolconnlimit BETWEEN 0 AND cast(:connections AS integer) - 1,
      format(
        'may open %s connections, and one process opens up to %s', role.rolconnlimit, cast(:connections AS integer)
      ),
      format('ALTER ROLE %I CONNECTION LIMIT -1', role.rolname)
    )
  ) AS limited (is_so, finding, command)
WHERE role.rolname = cast(:service_role AS text) AND limited.is_so
