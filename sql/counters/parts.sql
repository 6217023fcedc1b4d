-- remember_parts: keeps in baseline the partitions that are counted: all that there are, or (is_adding) those that were
-- created as such since. A fold calls it.
CREATE OR REPLACE FUNCTION queuestats.remember_parts(is_adding boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_parts oid[];
BEGIN
  IF EXISTS (SELECT FROM pg_class WHERE oid = queuestats.messages_table() AND relkind = 'p') THEN
    new_parts := ARRAY(SELECT part FROM queuestats.uncounted_parts() WHERE NOT is_adding OR is_created_as_part);
    IF NOT is_adding THEN
      UPDATE queuestats.baseline SET parts = ARRAY(
        SELECT relid FROM pg_partition_tree(queuestats.messages_table()) WHERE isleaf
      );
    ELSIF cardinality(new_parts) > 0 THEN
      UPDATE queuestats.baseline SET parts = parts || new_parts;
    END IF;
  END IF;
END
$$;

-- uncounted_parts: partitions that baseline does not have yet.
-- is_created_as_part: it was empty when it became a partition. The system columns of a table stand in the catalog since
-- its creation; a table that was attached later has an older transaction there.
CREATE OR REPLACE FUNCTION queuestats.uncounted_parts() RETURNS TABLE (part oid, is_created_as_part boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT tree.relid, inherited.xmin = created.xmin
  FROM queuestats.baseline
    CROSS JOIN pg_partition_tree(queuestats.messages_table()) AS tree
    INNER JOIN pg_inherits AS inherited ON inherited.inhrelid = tree.relid
    INNER JOIN pg_attribute AS created ON created.attrelid = tree.relid AND created.attname = 'ctid'
  WHERE tree.isleaf AND tree.relid <> ALL (baseline.parts)
$$;

-- changed_parts: why the counts no longer fit the partitions: a sentence for each. A partition goes and comes with its
-- rows, and no trigger hears of it. queuestats migrate counts all anew.
CREATE OR REPLACE FUNCTION queuestats.changed_parts() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%s became a partition of %s, with its rows: run queuestats migrate',
                part::regclass, queuestats.messages_table())
  FROM queuestats.uncounted_parts() WHERE NOT is_created_as_part
  UNION ALL
  SELECT format('a partition of %s was dropped or detached: run queuestats migrate', queuestats.messages_table())
  FROM queuestats.baseline CROSS JOIN unnest(parts) AS part
  WHERE part NOT IN (SELECT relid FROM pg_partition_tree(queuestats.messages_table()))
$$;

REVOKE EXECUTE ON FUNCTION queuestats.remember_parts(boolean) FROM PUBLIC;
