-- replaced_function: the function that the hint of an error names, and the statements that give its rights again
-- PostgreSQL names it where CREATE OR REPLACE would change its return type, or its parameters' names or defaults:
-- "Use DROP FUNCTION name(types) first."
-- parameters: hint text
SELECT /* migrate/replaced_function.sql */
  cast(function.oid::regprocedure AS text) AS name,
  format('DROP ROUTINE %s', function.oid::regprocedure) AS drop_statement,
  ARRAY(
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', function.oid::regprocedure, granted.grantee::regrole)
    FROM aclexplode(function.proacl) AS granted
    WHERE granted.grantee NOT IN (0, function.proowner)
  ) AS grants
FROM pg_proc AS function
WHERE function.pronamespace = 'queuestats'::regnamespace
  AND strpos(cast(:hint AS text), format(' %s ', function.oid::regprocedure)) > 0
