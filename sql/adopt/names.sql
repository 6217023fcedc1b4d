-- record_names: keeps the text of every key that is counted by its number, for people: "{schema}".keys. For adopted
-- tables whose sender, account or campaign is text or a UUID.
-- It must never hold a writer up, nor fail: one writer at a time adds names, and another one leaves it to the next
-- message of that key. Counting does not need the names.
-- If another text has the same number already, the second text gets a row with the negative number as its id. Both
-- texts are counted as one key; doctor and a metric report it.
-- As mapped_columns and message_of (queued_messages.sql).
-- places: schema, arguments, names, named_arguments, condition, messages, columns, used_columns, search_path
SET search_path = "{search_path}", pg_temp;

CREATE OR REPLACE FUNCTION "{schema}".named_columns("{arguments}") RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT named.word
  FROM (
    SELECT unnest(cast(ARRAY["{names}"] AS text[])) AS word
    FROM (SELECT "{named_arguments}") AS message
    WHERE "{condition}"
  ) AS named
  WHERE named.word IS NOT NULL;
END;

CREATE OR REPLACE FUNCTION "{schema}".names_of(of_row "{messages}") RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE AS $names_of$
  SELECT named.word FROM (SELECT (of_row).*) AS message ("{columns}")
    CROSS JOIN LATERAL "{schema}".named_columns("{used_columns}") AS named (word)
$names_of$;

CREATE OR REPLACE FUNCTION "{schema}".record_names() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  unknown text[];
BEGIN
  IF TG_RELID <> "{schema}".messages_table() THEN
    PERFORM "{schema}".require_part_of_messages(TG_RELID);
  END IF;
  IF TG_LEVEL = 'ROW' THEN
    unknown := ARRAY(SELECT named.word FROM "{schema}".names_of(NEW) AS named (word));
  ELSE
    unknown := ARRAY(
      SELECT DISTINCT named.word FROM new_rows CROSS JOIN LATERAL "{schema}".names_of(ROW(new_rows.*)) AS named (word)
    );
  END IF;
  unknown := ARRAY(
    SELECT word FROM unnest(unknown) AS word
    WHERE NOT EXISTS (
      SELECT FROM "{schema}".keys WHERE id IN ("{schema}".key_id(word), -"{schema}".key_id(word)) AND value = word
    )
  );
  -- In REPEATABLE READ and SERIALIZABLE a name that another one has just added would be an error.
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
$$;

-- remember_names: adds the names of all messages in the table. An error if two names have the same number.
CREATE OR REPLACE FUNCTION "{schema}".remember_names() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $remember_names$
DECLARE
  same record;
BEGIN
  -- Under this lock, writers leave their names to the next message.
  PERFORM pg_advisory_xact_lock('"{schema}".keys'::regclass::bigint);
  DELETE FROM "{schema}".keys WHERE id < 0;
  WITH named AS MATERIALIZED (
    SELECT DISTINCT "{schema}".key_id(named.word) AS id, named.word FROM "{messages}" AS queued_row
      CROSS JOIN LATERAL "{schema}".names_of(ROW(queued_row.*)) AS named (word)
  ), added AS (
    INSERT INTO "{schema}".keys (id, value) SELECT id, word FROM named ON CONFLICT (id) DO NOTHING
  )
  SELECT min(word) AS one, max(word) AS other INTO same FROM named GROUP BY id HAVING count(*) > 1 LIMIT 1;
  IF FOUND THEN
    RAISE unique_violation USING MESSAGE = format(
      'the keys %s and %s have the same number, and would be counted as one: write one of them in another way',
      same.one, same.other
    );
  END IF;
END
$remember_names$;

REVOKE EXECUTE ON FUNCTION "{schema}".record_names(), "{schema}".remember_names() FROM PUBLIC;

SET search_path = "{schema}";
