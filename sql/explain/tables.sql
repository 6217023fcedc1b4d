-- tables: the indexes that can be used, and the planner's estimate of the number of messages (-1: no estimate)
-- places: schema
-- parameters: none
SELECT /* explain/tables.sql */
  cast(messages.reltuples AS bigint) AS messages,
  ARRAY(
    SELECT cast(class.relname AS text)
    FROM pg_index AS index
      JOIN pg_class AS class ON class.oid = index.indexrelid
    WHERE class.relnamespace IN (messages.relnamespace, cast('"{schema}"' AS regnamespace)) AND index.indisvalid
    ORDER BY class.relname
  ) AS indexes
FROM pg_class AS messages
WHERE messages.oid = "{schema}".messages_table()
