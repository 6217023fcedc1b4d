-- partitions: the partitions of the counted table, of every level.
-- link: a hash of which partition it is and which transaction made it one: it is another one after DETACH and ATTACH.
-- is_created_as_part: it was empty when it became a partition. CREATE TABLE … PARTITION OF writes both rows of the
-- catalog in one transaction, three commands apart; CREATE TABLE and ATTACH PARTITION take five at least.
CREATE OR REPLACE FUNCTION queuestats.partitions() RETURNS TABLE (part oid, link oid, is_created_as_part boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT tree.relid,
         CAST(hashtext(format('%s:%s', CAST(tree.relid AS oid), inherited.xmin)) & 4294967295 AS oid),
         inherited.xmin = created.xmin AND CAST(CAST(inherited.cmin AS text) AS bigint)
           - CAST(CAST(created.cmin AS text) AS bigint) < 5
  FROM pg_partition_tree(queuestats.messages_table()) AS tree
    INNER JOIN pg_inherits AS inherited ON inherited.inhrelid = tree.relid
    INNER JOIN pg_attribute AS created ON created.attrelid = tree.relid AND created.attname = 'ctid'
  WHERE tree.level > 0
$$;

-- remember_parts: keeps in baseline the partitions that are counted: all that there are, or (is_adding) those that were
-- created as such since. A fold calls it.
CREATE OR REPLACE FUNCTION queuestats.remember_parts(is_adding boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_parts oid[];
BEGIN
  IF EXISTS (SELECT FROM pg_class WHERE oid = queuestats.messages_table() AND relkind = 'p') THEN
    IF NOT is_adding THEN
      UPDATE queuestats.baseline SET parts = ARRAY(SELECT link FROM queuestats.partitions());
      RETURN;
    END IF;
    new_parts := ARRAY(
      SELECT link FROM queuestats.baseline CROSS JOIN queuestats.partitions()
      WHERE link <> ALL (parts) AND is_created_as_part
    );
    IF cardinality(new_parts) > 0 THEN
      UPDATE queuestats.baseline SET parts = parts || new_parts;
    END IF;
  END IF;
END
$$;

-- changed_parts: why the counts no longer fit the partitions: a sentence for each. A partition goes and comes with its
-- rows, and no trigger hears of it. queuestats migrate counts all anew.
CREATE OR REPLACE FUNCTION queuestats.changed_parts() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%s became a partition of %s, with its rows: run queuestats migrate',
                part::regclass, queuestats.messages_table())
  FROM queuestats.baseline CROSS JOIN queuestats.partitions()
  WHERE link <> ALL (parts) AND NOT is_created_as_part
  UNION ALL
  SELECT format('a partition of %s was dropped or detached: run queuestats migrate', queuestats.messages_table())
  FROM queuestats.baseline CROSS JOIN unnest(parts) AS link
  WHERE link NOT IN (SELECT partition.link FROM queuestats.partitions() AS partition)
$$;

REVOKE EXECUTE ON FUNCTION queuestats.remember_parts(boolean) FROM PUBLIC;
