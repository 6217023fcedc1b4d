-- used: which columns of a table a view reads, as the lists that stand in the places of sql/adopt/
-- `columns`: up to the last one that is read. `arguments` have the types of the columns; `named_arguments` give them
-- the collations and names.
-- `system_column`, `virtual_column`: one that is read although a trigger does not see its value.
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
    format_type(atttypid, NULL) AS type,
    CASE WHEN attcollation <> typcollation THEN format(' COLLATE %I.%I', nspname, collname) ELSE '' END
      AS collate_clause,
    row_number() OVER (ORDER BY attnum) - 1 AS position
  FROM pg_attribute
    INNER JOIN pg_type ON pg_type.oid = atttypid
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    LEFT JOIN pg_namespace ON pg_namespace.oid = collnamespace
  WHERE attrelid = to_regclass(cast(:table_name AS text))
    AND (attrelid, attnum) IN (SELECT relation, number FROM depended)
)

SELECT
  (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = to_regclass(cast(:table_name AS text)) AND attnum > 0 AND NOT attisdropped
      AND attnum <= coalesce((SELECT max(attnum) FROM used), (
        SELECT min(attnum) FROM pg_attribute
        WHERE attrelid = to_regclass(cast(:table_name AS text)) AND attnum > 0 AND NOT attisdropped
      ))
  ) AS columns,
  coalesce(string_agg(quote_ident(attname), ', ' ORDER BY attnum), '') AS used_columns,
  coalesce(string_agg(format('of_%s %s', position, type), ', ' ORDER BY attnum), '') AS arguments,
  coalesce(string_agg(format('of_%s%s AS %I', position, collate_clause, attname), ', ' ORDER BY attnum), '')
    AS named_arguments,
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
