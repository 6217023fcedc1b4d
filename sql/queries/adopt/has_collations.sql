-- has_collations: whether a column of a view, or a column that it reads, has another collation than the database
-- parameters: view_name text
SELECT /* queries/adopt/has_collations.sql */ EXISTS(
  SELECT
  FROM pg_attribute AS attribute
  WHERE attribute.attcollation NOT IN (0, cast('pg_catalog."default"' AS regcollation))
    AND (
      attribute.attrelid = to_regclass(cast(:view_name AS text))
      OR (attribute.attrelid, attribute.attnum) IN (
        SELECT
          used.refobjid,
          used.refobjsubid
        FROM pg_depend AS used
          INNER JOIN pg_rewrite AS rule ON rule.oid = used.objid
        WHERE rule.ev_class = to_regclass(cast(:view_name AS text)) AND used.refobjsubid > 0
      )
    )
) AS has_collations
