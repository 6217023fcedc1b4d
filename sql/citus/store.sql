-- store: stores the texts that the shards of a node are made of, and those that are run on them
-- Arrays of rows, each an array of the columns of queuestats_node.definitions, readers and statements.
-- parameters: definitions jsonb, readers jsonb, statements jsonb
WITH /* citus/store.sql */ definitions AS (
  INSERT INTO queuestats_node.definitions (number, body, is_repeatable)
  SELECT cast(definition ->> 0 AS integer), definition ->> 1, cast(definition ->> 2 AS boolean)
  FROM jsonb_array_elements(cast(:definitions AS jsonb)) AS definition
),

readers AS (
  INSERT INTO queuestats_node.readers (name, names, types, body)
  SELECT
    reader ->> 0,
    ARRAY(SELECT jsonb_array_elements_text(reader -> 1)),
    ARRAY(SELECT jsonb_array_elements_text(reader -> 2)),
    reader ->> 3
  FROM jsonb_array_elements(cast(:readers AS jsonb)) AS reader
)

INSERT INTO queuestats_node.statements (name, body)
SELECT statement ->> 0, statement ->> 1
FROM jsonb_array_elements(cast(:statements AS jsonb)) AS statement
