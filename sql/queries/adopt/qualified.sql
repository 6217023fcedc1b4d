-- qualified: the expression of a view as PostgreSQL writes it, and the objects that it uses
-- The names of objects that the search_path does not find are qualified. `used`: functions, operators, types and
-- collations that do not belong to PostgreSQL itself.
-- parameters: view_name text
SELECT /* queries/adopt/qualified.sql */
  pg_get_viewdef(rule.ev_class) AS definition,
  ARRAY(
    SELECT format('%s %s', depend.refclassid, depend.refobjid)
    FROM pg_depend AS depend
    WHERE depend.classid = cast('pg_rewrite' AS regclass) AND depend.objid = rule.oid
      AND depend.refclassid <> cast('pg_class' AS regclass)
    ORDER BY depend.refclassid, depend.refobjid
  ) AS used
FROM pg_rewrite AS rule
WHERE rule.ev_class = to_regclass(cast(:view_name AS text))
