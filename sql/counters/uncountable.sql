-- uncountable_messages: why the triggers can't count this table: a sentence for each reason; no row where they can.
-- There the counts would be wrong without anybody's noticing, so the service answers nothing.
-- Citus keeps its distributed tables in pg_catalog.pg_dist_partition: read by EXECUTE, because elsewhere there is none.
CREATE OR REPLACE FUNCTION queuestats.uncountable_messages() RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  messages CONSTANT regclass := to_regclass('public.messages');
  kind CONSTANT "char" := (SELECT relkind FROM pg_class WHERE oid = messages);
  is_distributed boolean := false;
BEGIN
  IF kind IS NULL THEN
    RETURN NEXT 'there is no table messages';
  ELSIF kind NOT IN ('r', 'p') THEN
    RETURN NEXT 'messages is a view or a foreign table, and what is written behind it is not counted';
  END IF;

  RETURN QUERY
  SELECT format('the partition %s of messages lacks the triggers that count', part.relid)
  FROM pg_partition_tree(messages) AS part
  WHERE part.isleaf AND part.relid <> messages AND 3 > (
    SELECT count(DISTINCT called.proname)
    FROM pg_trigger AS trigger JOIN pg_proc AS called ON called.oid = trigger.tgfoid
    WHERE trigger.tgrelid = part.relid AND trigger.tgenabled IN ('O', 'A')
      AND called.pronamespace = 'queuestats'::regnamespace
      AND called.proname IN ('record_insert', 'record_update', 'record_delete')
  );

  RETURN QUERY
  SELECT format('%s inherits from messages, and what is written to it is not counted', child.oid::regclass)
  FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
  WHERE inhparent = messages AND NOT child.relispartition;

  RETURN QUERY
  SELECT format('messages is a part of %s, and what is written through that is not counted', inhparent::regclass)
  FROM pg_inherits
  WHERE inhrelid = messages;

  IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
    EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)'
    INTO is_distributed USING messages;
  END IF;
  IF is_distributed THEN
    RETURN NEXT 'messages is distributed over several nodes, which this version does not count';
  END IF;
END
$$;
