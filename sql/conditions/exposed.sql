-- exposed: other roles may execute functions that run with their owner's rights
-- A restore with --no-acl leaves such grants to PUBLIC.
-- places: schema
-- parameters: service_role text
SELECT /* conditions/exposed.sql */
  format('%s may execute %s', granted.role, granted.function) AS finding,
  format('REVOKE EXECUTE ON FUNCTION %s FROM %s', granted.function, granted.role) AS command
FROM (
  SELECT
    function.oid::regprocedure AS function,
    function.prorettype = 'trigger'::regtype AS is_of_trigger,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS role
  FROM pg_proc AS function
    CROSS JOIN aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) AS acl
  WHERE function.pronamespace = '"{schema}"'::regnamespace
    AND function.prosecdef
    AND acl.privilege_type = 'EXECUTE'
    AND acl.grantee <> function.proowner
) AS granted
WHERE granted.role = 'PUBLIC' OR (granted.role = cast(:service_role AS text) AND granted.is_of_trigger)
ORDER BY granted.function::text
