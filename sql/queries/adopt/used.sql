-- used: the columns of a table that a view reads, as lists for the places of sql/adopt/
-- `columns` are quoted. `try_columns` is an error if a column was dropped, or if its type can't be converted to the
-- former type. `column_names` is a literal.
-- `system_column`, `virtual_column`: a column of the view whose value a trigger does not see.
-- `has_collations`: the view, or a column that it reads, has another collation than the database.
-- parameters: view_name text, table_name text
WITH /* queries/adopt/used.sql */ depended AS (
  SELECT
    depend.refobjid AS relation,
    depend.refobjsubid AS number
  FROM pg_depend AS depend
    INNER JOIN pg_rewrite AS rule ON rule.oid = depend.objid
  WHERE rule.ev_class = to_regclass(cast(:view_name AS text)) AND depend.refobjsubid <> 0
),

used AS (
  SELECT
    attnum, attname, attgenerated,
    format_type(atttypid, NULL) AS type
  FROM pg_attribute
  WHERE attrelid = to_regclass(cast(:table_name AS text))
    AND (attrelid, attnum) IN (SELECT relation, number FROM depended)
)

SELECT
  coalesce(array_agg(quote_ident(attname) ORDER BY attnum), '{}') AS columns,
  coalesce(
    string_agg(format('coalesce(queuestats_row.%I, CAST(NULL AS %s))', attname, type), ', ' ORDER BY attnum), 'NULL'
  ) AS try_columns,
  quote_literal(coalesce(array_agg(attname ORDER BY attnum), '{}')) AS column_names,
  min(cast(attname AS text)) FILTER (WHERE attnum < 0) AS system_column,
  min(cast(attname AS text)) FILTER (WHERE attgenerated = 'v') AS virtual_column,
  EXISTS(
    SELECT
    FROM pg_attribute AS attribute
    WHERE attribute.attcollation NOT IN (0, cast('pg_catalog."default"' AS regcollation))
      AND (
        attribute.attrelid = to_regclass(cast(:view_name AS text))
        OR (attribute.attrelid, attribute.attnum) IN (SELECT relation, number FROM depended)
      )
  ) AS has_collations
FROM used
