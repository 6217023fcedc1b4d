-- parts: a table and its partitions, each after its parent, with the names of the index that hold looks up by
-- No row where the table has no partitions.
-- parameters: table_name text
SELECT /* queries/adopt/parts.sql */
  cast(tree.relid AS text) AS name,
  tree.isleaf AS is_leaf,
  quote_ident(namespace.nspname) AS schema,
  CASE
    WHEN tree.level = 0 THEN 'queuestats_message_id' ELSE format('queuestats_message_id_%s', cast(tree.relid AS oid))
  END
    AS index,
  CASE
    WHEN tree.level = 1 THEN format('%I.queuestats_message_id', parent_namespace.nspname)
    WHEN tree.level > 1 THEN format('%I.queuestats_message_id_%s', parent_namespace.nspname, parent.oid)
  END AS parent_index
FROM pg_partition_tree(cast(to_regclass(cast(:table_name AS text)) AS regclass)) AS tree
  INNER JOIN pg_class AS relation ON relation.oid = tree.relid
  INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
  LEFT JOIN pg_class AS parent ON parent.oid = tree.parentrelid
  LEFT JOIN pg_namespace AS parent_namespace ON parent_namespace.oid = parent.relnamespace
WHERE EXISTS (
    SELECT FROM pg_class WHERE oid = cast(to_regclass(cast(:table_name AS text)) AS regclass) AND relkind = 'p'
  )
ORDER BY tree.level, tree.relid
