-- used_columns: which columns of a table a view reads, by number; system columns have numbers below 0
-- parameters: view_name text, table_name text
SELECT /* queries/adopt/used_columns.sql */ DISTINCT used.refobjsubid AS number
FROM pg_depend AS used
  INNER JOIN pg_rewrite AS rule ON rule.oid = used.objid
WHERE rule.ev_class = to_regclass(cast(:view_name AS text))
  AND used.refobjid = to_regclass(cast(:table_name AS text))
  AND used.refobjsubid <> 0
