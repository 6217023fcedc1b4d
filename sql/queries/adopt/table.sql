-- table: the table that is to be adopted, as the catalog has it; no row where there is none of this name
-- `columns`: those that can be written; `changed_column`: one that an UPDATE may set, no key if there is another.
-- `search_path`: the one that the mapping is read by. `key`: the columns of its primary key, in order.
-- `every_collation`: NULL for a column with the collation of its type. `virtual`: the numbers of virtual generated
-- columns. `taken`: triggers of our names that are not ours. `foreign_part`: a partition elsewhere.
-- parameters: table_name text
SELECT /* queries/adopt/table.sql */
  relation.oid,
  cast(relation.oid::regclass AS text) AS name,
  format('%I.%I', namespace.nspname, relation.relname) AS qualified_name,
  cast(relation.relkind AS text) AS kind,
  cast(relation.relpersistence AS text) AS persistence,
  (SELECT string_agg(quote_ident(path.name), ', ') FROM unnest(current_schemas(false)) AS path (name)) AS search_path,
  coalesce((
    SELECT sum(part.reltuples)
    FROM pg_partition_tree(relation.oid) AS tree
      INNER JOIN pg_class AS part ON part.oid = tree.relid
    WHERE tree.isleaf
  ), relation.reltuples) AS estimated_rows,
  (
    SELECT min(cast(part.oid::regclass AS text))
    FROM pg_partition_tree(relation.oid) AS tree
      INNER JOIN pg_class AS part ON part.oid = tree.relid
    WHERE part.relkind = 'f' AND part.oid <> relation.oid
  ) AS foreign_part,
  cast(inherited.inhparent::regclass AS text) AS parent,
  EXISTS(
    SELECT
    FROM pg_inherits
      INNER JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = relation.oid AND NOT child.relispartition
  ) AS has_children,
  has_table_privilege(relation.oid, 'SELECT') AS may_select,
  has_table_privilege(relation.oid, 'TRIGGER') AS may_trigger,
  has_table_privilege(relation.oid, 'UPDATE') AND has_table_privilege(relation.oid, 'DELETE') AS may_change,
  pg_has_role(relation.relowner, 'USAGE') AS is_owner,
  has_database_privilege(current_database(), 'CREATE') AS may_create,
  coalesce((SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user), false) AS may_create_roles,
  ARRAY(
    SELECT cast(attname AS text)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ORDER BY attnum
  ) AS columns,
  (
    SELECT quote_ident(attname)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'
    ORDER BY
      EXISTS (SELECT FROM pg_index WHERE indrelid = relation.oid AND indisprimary AND attnum = ANY(indkey)), attnum
    LIMIT 1
  ) AS changed_column,
  ARRAY(
    SELECT cast(attname AS text)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
  ) AS every_column,
  ARRAY(
    SELECT cast(attnum AS integer)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
  ) AS numbers,
  ARRAY(
    SELECT format_type(atttypid, NULL)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
  ) AS every_type,
  ARRAY(
    SELECT CASE WHEN attcollation <> typcollation THEN format('%I.%I', nspname, collname) END
    FROM pg_attribute
      INNER JOIN pg_type ON pg_type.oid = atttypid
      LEFT JOIN pg_collation ON pg_collation.oid = attcollation
      LEFT JOIN pg_namespace ON pg_namespace.oid = collnamespace
    WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
  ) AS every_collation,
  ARRAY(
    SELECT cast(attnum AS integer)
    FROM pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0 AND attgenerated = 'v'
    ORDER BY attnum
  ) AS virtual,
  ARRAY(
    SELECT cast(attname AS text)
    FROM pg_index
      CROSS JOIN LATERAL unnest(indkey) WITH ORDINALITY AS part (number, position)
      INNER JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number
    WHERE indrelid = relation.oid AND indisprimary
    ORDER BY part.position
  ) AS key,
  ARRAY(
    SELECT cast(tgname AS text)
    FROM pg_trigger
      INNER JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = relation.oid
      AND tgname IN (
        'messages_inserted', 'messages_updated', 'messages_deleted', 'messages_truncated', 'messages_changed',
        'messages_named', 'messages_named_insert', 'messages_named_update'
      )
      AND pronamespace IS DISTINCT FROM to_regnamespace('queuestats')
  ) AS taken
FROM pg_class AS relation
  INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
  LEFT JOIN pg_inherits AS inherited ON inherited.inhrelid = relation.oid
WHERE relation.oid = to_regclass(cast(:table_name AS text))
