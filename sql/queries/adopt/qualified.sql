-- qualified: the expression of the constraint in adopt/trial/qualified.sql as PostgreSQL writes it, and its objects
-- The names of objects that are not in the search_path are qualified. `used`: functions, operators, types and
-- collations that do not belong to PostgreSQL itself.
-- parameters: table_name text
SELECT /* queries/adopt/qualified.sql */
  pg_get_expr(conbin, conrelid) AS definition,
  ARRAY(
    SELECT format('%s %s', depend.refclassid, depend.refobjid)
    FROM pg_depend AS depend
    WHERE depend.classid = cast('pg_constraint' AS regclass) AND depend.objid = pg_constraint.oid
      AND depend.refclassid <> cast('pg_class' AS regclass)
    ORDER BY depend.refclassid, depend.refobjid
  ) AS used
FROM pg_constraint
WHERE conrelid = to_regclass(cast(:table_name AS text)) AND conname = 'queuestats_value'
