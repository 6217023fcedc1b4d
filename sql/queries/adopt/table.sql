-- table: the table to be adopted, from the catalog; no row if no table has this name
-- `refusal`: why the role of this session can't count the table, NULL if it can. `is_holdable`: hold and release will
-- write to it. `search_path`: the path with which the mapping is read. `changed_column`: a column that an UPDATE may
-- set; it is a key only if there is no other. `key`: the columns of the primary key, in order. Names of columns are
-- quoted.
-- parameters: table_name text, is_holdable boolean
WITH /* queries/adopt/table.sql */ candidate AS (
  SELECT
    relation.oid, relation.relkind, relation.relpersistence, relation.relowner, relation.reltuples,
    cast(relation.oid::regclass AS text) AS name,
    format('%I.%I', namespace.nspname, relation.relname) AS qualified_name,
    cast(inherited.inhparent::regclass AS text) AS parent
  FROM pg_class AS relation
    INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    LEFT JOIN pg_inherits AS inherited ON inherited.inhrelid = relation.oid
  WHERE relation.oid = to_regclass(cast(:table_name AS text))
),

leaf AS (
  SELECT part.oid, part.relkind, part.reltuples
  FROM candidate
    CROSS JOIN LATERAL pg_partition_tree(candidate.oid) AS tree
    INNER JOIN pg_class AS part ON part.oid = tree.relid
  WHERE tree.isleaf
),

attribute AS (
  SELECT
    attnum, attidentity, attgenerated,
    quote_ident(attname) AS quoted,
    array_position(indkey, attnum) AS position
  FROM candidate
    INNER JOIN pg_attribute ON attrelid = candidate.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
),

lacking AS (
  SELECT string_agg(wanted.name, ' and ' ORDER BY wanted.position) AS names
  FROM candidate
    CROSS JOIN LATERAL (
      VALUES
      (1, 'CREATE on the database', has_database_privilege(current_database(), 'CREATE')),
      (2, 'SELECT on it', has_table_privilege(candidate.oid, 'SELECT')),
      (3, 'TRIGGER on it', has_table_privilege(candidate.oid, 'TRIGGER')),
      -- A hold also changes messages that writers insert later, with the rights of this role.
      (
        4, 'UPDATE and DELETE on it', NOT cast(:is_holdable AS boolean)
        OR has_table_privilege(candidate.oid, 'UPDATE') AND has_table_privilege(candidate.oid, 'DELETE')
      ),
      (
        5, 'to be its owner (for the index of hold and release)', NOT cast(:is_holdable AS boolean)
        OR pg_has_role(candidate.relowner, 'USAGE')
      )
    ) AS wanted (position, name, is_there)
  WHERE NOT wanted.is_there
),

taken AS (
  -- Triggers of other applications that have the names of ours.
  SELECT min(cast(tgname AS text)) AS name
  FROM candidate
    INNER JOIN pg_trigger ON tgrelid = candidate.oid
    INNER JOIN pg_proc ON pg_proc.oid = tgfoid
  WHERE tgname IN (
      'messages_inserted', 'messages_updated', 'messages_deleted', 'messages_truncated', 'messages_changed',
      'messages_named', 'messages_named_insert', 'messages_named_update'
    )
    AND pronamespace IS DISTINCT FROM to_regnamespace('queuestats')
),

refused AS (
  SELECT
    CASE
      WHEN relpersistence = 't' THEN format('%s is a temporary table: other sessions do not see it.', name)
      WHEN relkind NOT IN ('r', 'p')
        THEN format(
            '%s is %s: writes to the table behind it would not be counted.', name,
            CASE relkind
              WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' ELSE 'no table'
            END
          )
      WHEN parent IS NOT NULL THEN format('%s is a part of %s: adopt %2$s as a whole.', name, parent)
      WHEN EXISTS (
          SELECT FROM pg_inherits
            INNER JOIN pg_class AS child ON child.oid = inhrelid
          WHERE inhparent = candidate.oid AND NOT child.relispartition
        )
        THEN format('Other tables inherit from %s: writes to them would not be counted.', name)
      WHEN EXISTS (SELECT FROM leaf WHERE leaf.relkind = 'f' AND leaf.oid <> candidate.oid)
        THEN format(
            '%s, a part of %s, is a foreign table: it would not be counted.',
            (
              SELECT min(cast(leaf.oid::regclass AS text)) FROM leaf
              WHERE leaf.relkind = 'f'
            ), name
          )
      WHEN starts_with(qualified_name, 'queuestats.')
        THEN format('%s is in the schema queuestats, which is reserved: move it to another schema.', name)
      WHEN (SELECT taken.name FROM taken) IS NOT NULL
        THEN format(
            '%s already has a trigger %s, a name that adopt needs: rename it.', name, (SELECT taken.name FROM taken)
          )
      WHEN (SELECT names FROM lacking) IS NOT NULL
        THEN format(
            'To adopt %s, the role of QUEUESTATS_ADMIN_DATABASE_URL needs %s.', name, (SELECT names FROM lacking)
          )
    END AS refusal
  FROM candidate
)

SELECT
  candidate.name,
  candidate.qualified_name,
  candidate.relkind = 'p' AS is_partitioned,
  (SELECT string_agg(quote_ident(path.name), ', ') FROM unnest(current_schemas(false)) AS path (name)) AS search_path,
  coalesce((SELECT sum(leaf.reltuples) FROM leaf), candidate.reltuples) AS estimated_rows,
  coalesce((SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user), false) AS may_create_roles,
  refused.refusal,
  (SELECT string_agg(quoted, ', ' ORDER BY attnum) FROM attribute WHERE attgenerated = '') AS writable_columns,
  coalesce((
    SELECT quoted FROM attribute
    WHERE attgenerated = '' AND attidentity <> 'a'
    ORDER BY position IS NOT NULL, attnum
    LIMIT 1
  ), '') AS changed_column,
  ARRAY(SELECT quoted FROM attribute WHERE position IS NOT NULL ORDER BY position) AS key
FROM candidate
  CROSS JOIN refused
