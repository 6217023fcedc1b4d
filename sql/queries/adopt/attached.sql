-- attached: the table that is counted in this database, our triggers and indexes on it, and whether it was adopted
-- parameters: none
SELECT /* queries/adopt/attached.sql */
  cast(queuestats.messages_table() AS text) AS queue,
  ARRAY(
    SELECT quote_ident(tgname)
    FROM pg_trigger
      INNER JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = queuestats.messages_table()
      AND NOT tgisinternal
      AND pronamespace = cast('queuestats' AS regnamespace)
  ) AS triggers,
  ARRAY(
    SELECT format('%I.%I', nspname, class.relname)
    FROM pg_index
      INNER JOIN pg_class AS class ON class.oid = indexrelid
      INNER JOIN pg_namespace ON pg_namespace.oid = class.relnamespace
    WHERE indrelid = queuestats.messages_table() AND class.relname = 'queuestats_message_id'
  ) AS indexes,
  (SELECT relkind = 'p' FROM pg_class WHERE oid = queuestats.messages_table()) AS is_partitioned,
  EXISTS(SELECT FROM queuestats.adopted) AS is_adopted
