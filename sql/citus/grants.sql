-- grants: the statements that give a role, or (NULL) no role but the owner, the functions of a node
-- parameters: role text
SELECT /* citus/grants.sql */ format(template, cast(:role AS text)) AS statement
FROM (
  VALUES
  (1, 'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA queuestats_node FROM PUBLIC'),
  (2, 'GRANT USAGE ON SCHEMA queuestats_node TO %I'),
  (3, 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA queuestats_node TO %I')
) AS wanted (number, template)
WHERE number = 1 OR cast(:role AS text) IS NOT NULL
ORDER BY number
