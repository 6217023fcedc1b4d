-- attached: the table that is counted in this database, our triggers on it, and whether it was adopted
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
  EXISTS(SELECT FROM queuestats.adopted) AS is_adopted
