-- uncountable_messages: why the triggers can't count this table: a sentence for each reason; no row if they can. Counts
-- of such a table would be wrong without a sign of it, so requests get 503.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".uncountable_messages() RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  messages CONSTANT regclass := "{schema}".messages_table();
  kind CONSTANT "char" := (SELECT relkind FROM pg_class WHERE oid = messages);
BEGIN
  IF kind IS NULL THEN
    RETURN NEXT coalesce(
      (SELECT format('the adopted table %s was dropped or renamed', mapping ->> 'queue') FROM "{schema}".adopted),
      'there is no table messages'
    );
  ELSIF kind NOT IN ('r', 'p') THEN
    RETURN NEXT 'messages is a view or a foreign table, and writes to the table behind it are not counted';
  END IF;

  RETURN QUERY
  SELECT format('the mapping of %s can''t be evaluated: %s', messages, unfit)
  FROM "{schema}".unfit_mapping() AS unfit
  WHERE kind IS NOT NULL AND unfit IS NOT NULL;

  -- Until the messages have been counted, statements read the messages themselves.
  RETURN QUERY
  SELECT format('triggers that count %s are missing: run queuestats migrate', messages)
  FROM "{schema}".trigger_state()
  WHERE is_missing AND EXISTS (SELECT FROM "{schema}".baseline) AND NOT "{schema}".is_distributed();

  RETURN QUERY
  SELECT format('the partition %s of %s lacks the triggers that count', part.relid, messages)
  FROM pg_partition_tree(messages) AS part
  WHERE part.isleaf AND part.relid <> messages AND 3 > (
    SELECT count(DISTINCT function) + 3 * count(*) FILTER (WHERE function = 'record_row')
    FROM "{schema}".counting_triggers()
    WHERE relation = part.relid AND is_on
  );

  RETURN QUERY
  SELECT format('the partition %s of %s is a foreign table, and writes to the table behind it are not counted',
                part.relid, messages)
  FROM pg_partition_tree(messages) AS part JOIN pg_class ON oid = part.relid
  WHERE relkind = 'f';

  RETURN QUERY
  SELECT format('%s inherits from %s, and writes to it are not counted', child.oid::regclass, messages)
  FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
  WHERE inhparent = messages AND NOT child.relispartition;

  RETURN QUERY
  SELECT format('%s is a part of %s, and writes through %2$s are not counted', messages, inhparent::regclass)
  FROM pg_inherits
  WHERE inhrelid = messages;

  IF "{schema}".is_distributed() AND to_regnamespace('queuestats_local') IS NULL THEN
    RETURN NEXT format('%s is distributed, and its shards are not counted: run queuestats migrate', messages);
  END IF;
END
$$;

-- is_distributed: whether Citus has distributed messages. Citus stores its tables in pg_catalog.pg_dist_partition,
-- which is read by EXECUTE because it does not exist without Citus.
CREATE OR REPLACE FUNCTION "{schema}".is_distributed() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found boolean := false;
BEGIN
  IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
    EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)'
    INTO found USING "{schema}".messages_table();
  END IF;
  RETURN found;
END
$$;
