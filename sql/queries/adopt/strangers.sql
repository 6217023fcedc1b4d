-- strangers: objects of other applications that would be dropped with the schema queuestats
-- parameters: own_tables text[]
SELECT /* queries/adopt/strangers.sql */ format('%I.%I', cast('queuestats' AS text), relation.relname) AS name
FROM pg_class AS relation
WHERE relation.relnamespace = to_regnamespace('queuestats')
  AND relation.relkind IN ('r', 'p', 'f', 'm')
  AND relation.relname <> all(cast(:own_tables AS text[]))
UNION
SELECT format('%I.%I', namespace.nspname, relation.relname)
FROM pg_depend AS used
  INNER JOIN pg_rewrite AS rule ON rule.oid = used.objid
  INNER JOIN pg_class AS relation ON relation.oid = rule.ev_class
  INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
  INNER JOIN pg_class AS ours ON ours.oid = used.refobjid
WHERE used.classid = cast('pg_rewrite' AS regclass)
  AND ours.relnamespace = to_regnamespace('queuestats')
  AND relation.relnamespace <> ours.relnamespace
ORDER BY name
