-- record_names: stores the text of each key that is counted by its number in "{schema}".keys, for display. For adopted
-- tables whose sender, account or campaign is text or a UUID.
-- It never blocks a writer and never fails: only one writer at a time adds names. Other writers skip it, and the next
-- message with the same key adds the name. Counting does not need the names.
-- If another text has the same number already, the second text gets a row with the negative number as its id. Both
-- texts are counted as one key; doctor and a metric report it.
-- places: schema, messages_oid, names, named_new_rows, named_new_row, try_new_rows, try_new_row, condition, messages
CREATE OR REPLACE FUNCTION "{schema}".record_names() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $queuestats$
#variable_conflict use_column
DECLARE
  unknown text[];
BEGIN
  IF coalesce(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM "{messages_oid}"
    AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  IF TG_LEVEL = 'ROW' THEN
    BEGIN
      "{try_new_row}"
    EXCEPTION WHEN OTHERS THEN
      PERFORM "{schema}".remember_uncounted();
      RETURN NULL;
    END;
    unknown := ARRAY(SELECT named.word FROM "{named_new_row}" AS named WHERE named.word IS NOT NULL);
  ELSE
    "{try_new_rows}"
    unknown := ARRAY(SELECT DISTINCT named.word FROM "{named_new_rows}" AS named WHERE named.word IS NOT NULL);
  END IF;
  unknown := ARRAY(
    SELECT word FROM unnest(unknown) AS word
    WHERE NOT EXISTS (
      SELECT FROM "{schema}".keys WHERE id IN ("{schema}".key_id(word), -"{schema}".key_id(word)) AND value = word
    )
  );
  -- In REPEATABLE READ and SERIALIZABLE, a name that a concurrent transaction has added would be an error.
  IF cardinality(unknown) > 0 AND current_setting('transaction_isolation') = 'read committed'
    AND pg_try_advisory_xact_lock('"{schema}".keys'::regclass::bigint) THEN
    INSERT INTO "{schema}".keys (id, value) SELECT "{schema}".key_id(word), word FROM unnest(unknown) AS word
    ON CONFLICT (id) DO NOTHING;
    INSERT INTO "{schema}".keys (id, value)
    SELECT -key.id, word FROM unnest(unknown) AS word JOIN "{schema}".keys AS key ON key.id = "{schema}".key_id(word)
    WHERE key.value <> word
    ON CONFLICT (id) DO NOTHING;
  END IF;
  RETURN NULL;
END
$queuestats$;

-- remember_names: adds the names of all messages in the table. An error if two names have the same number.
CREATE OR REPLACE FUNCTION "{schema}".remember_names() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $remember_names$
DECLARE
  same record;
BEGIN
  -- While this lock is held, writers skip their names: the next message of the key adds the name.
  PERFORM pg_advisory_xact_lock('"{schema}".keys'::regclass::bigint);
  DELETE FROM "{schema}".keys WHERE id < 0;
  WITH named AS MATERIALIZED (
    SELECT DISTINCT "{schema}".key_id(named.word) AS id, named.word
    FROM (
      SELECT unnest(CAST(ARRAY["{names}"] AS text[])) AS word FROM "{messages}" AS queuestats_row WHERE "{condition}"
    ) AS named
    WHERE named.word IS NOT NULL
  ), added AS (
    INSERT INTO "{schema}".keys (id, value) SELECT id, word FROM named ON CONFLICT (id) DO NOTHING
  )
  SELECT min(word) AS one, max(word) AS other INTO same FROM named GROUP BY id HAVING count(*) > 1 LIMIT 1;
  IF FOUND THEN
    RAISE unique_violation USING MESSAGE = format(
      'the keys %s and %s have the same number, and would be counted as one: map one of them differently',
      same.one, same.other
    );
  END IF;
END
$remember_names$;

REVOKE EXECUTE ON FUNCTION "{schema}".record_names(), "{schema}".remember_names() FROM PUBLIC;
