-- login_ends: the password of the service's role becomes invalid within 14 days
-- parameters: service_role text
SELECT /* conditions/login_ends.sql */
  format('the password of the role %s is valid until %s', rolname, rolvaliduntil) AS finding,
  format('ALTER ROLE %I VALID UNTIL ''infinity''', rolname) AS command
FROM pg_roles
WHERE rolname = cast(:service_role AS text)
  AND rolvaliduntil > now()
  AND rolvaliduntil < now() + interval '14 days'
