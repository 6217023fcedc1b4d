-- used: the numbers of the columns of a table that a view reads, and whether one of these, or of the view, has another
-- collation than the database
-- System columns have numbers below 0.
-- parameters: view_name text, table_name text
WITH /* queries/adopt/used.sql */ used AS (
  SELECT
    depend.refobjid AS relation,
    depend.refobjsubid AS number
  FROM pg_depend AS depend
    INNER JOIN pg_rewrite AS rule ON rule.oid = depend.objid
  WHERE rule.ev_class = to_regclass(cast(:view_name AS text)) AND depend.refobjsubid <> 0
)

SELECT
  ARRAY(
    SELECT DISTINCT used.number FROM used
    WHERE used.relation = to_regclass(cast(:table_name AS text))
  ) AS columns,
  EXISTS(
    SELECT
    FROM pg_attribute AS attribute
    WHERE attribute.attcollation NOT IN (0, cast('pg_catalog."default"' AS regcollation))
      AND (
        attribute.attrelid = to_regclass(cast(:view_name AS text))
        OR (attribute.attrelid, attribute.attnum) IN (SELECT used.relation, used.number FROM used)
      )
  ) AS has_collations
