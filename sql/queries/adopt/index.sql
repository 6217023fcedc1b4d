-- index: the statements that create an index of queuestats on an adopted table, in the order in which they must run
-- On a partitioned table the index is built on each partition and then attached, so that writers wait only briefly.
-- `is_online`: the statement takes no lock that blocks writers, and runs outside a transaction. The first statements
-- drop the indexes of a former mapping or of an interrupted attempt.
-- `definition`: the text after the name of the table: the keys in parentheses, and a condition.
-- parameters: table_name text, index_name text, definition text
WITH /* queries/adopt/index.sql */ relation AS (
  SELECT
    tree.level,
    tree.relid,
    tree.isleaf AS is_online,
    CASE WHEN tree.isleaf THEN 'CONCURRENTLY ' ELSE '' END AS online,
    CASE WHEN tree.isleaf THEN '' ELSE 'ONLY ' END AS scope,
    format('%I.%I', namespace.nspname, class.relname) AS name,
    quote_ident(namespace.nspname) AS schema,
    CASE WHEN tree.level = 0 THEN given.name ELSE format('%s_%s', given.name, class.oid) END AS index,
    CASE
      WHEN tree.level = 1 THEN format('%I.%s', parent_namespace.nspname, given.name)
      WHEN tree.level > 1 THEN format('%I.%s_%s', parent_namespace.nspname, given.name, parent.oid)
    END AS parent_index
  FROM (
    SELECT relid, parentrelid, level, isleaf
    FROM pg_partition_tree(cast(to_regclass(cast(:table_name AS text)) AS regclass))
    UNION ALL
    -- For a table that is not partitioned, pg_partition_tree has no rows.
    SELECT to_regclass(cast(:table_name AS text)), NULL, 0, true
    WHERE NOT EXISTS (SELECT FROM pg_partition_tree(cast(to_regclass(cast(:table_name AS text)) AS regclass)))
  ) AS tree
    CROSS JOIN (VALUES (cast(:index_name AS text))) AS given (name)
    INNER JOIN pg_class AS class ON class.oid = tree.relid
    INNER JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    LEFT JOIN pg_class AS parent ON parent.oid = tree.parentrelid
    LEFT JOIN pg_namespace AS parent_namespace ON parent_namespace.oid = parent.relnamespace
)

SELECT step.statement, step.is_online
FROM relation
  CROSS JOIN LATERAL (
    VALUES
    (1, format('DROP INDEX %sIF EXISTS %s.%s', online, schema, index), is_online),
    (
      2, format(
        'CREATE INDEX %sIF NOT EXISTS %s ON %s%s %s', online, index, scope, name, cast(:definition AS text)
      ), is_online
    ),
    (3, format('ALTER INDEX %s ATTACH PARTITION %s.%s', parent_index, schema, index), false)
  ) AS step (turn, statement, is_online)
WHERE step.turn < 3 OR parent_index IS NOT NULL
ORDER BY relation.level, relation.relid, step.turn
