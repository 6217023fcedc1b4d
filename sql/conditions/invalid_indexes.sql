-- invalid_indexes: indexes of the service or of messages are invalid: no statement can use them
-- places: schema
-- parameters: none
SELECT /* conditions/invalid_indexes.sql */
  format('the index %s on %s is invalid', indexrelid::regclass, indrelid::regclass) AS finding,
  CASE
    WHEN relname ~ '_cc(new|old)\d*$' THEN format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass)
    ELSE format('REINDEX INDEX CONCURRENTLY %s', indexrelid::regclass)
  END AS command
FROM pg_index
  INNER JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid
  AND (indrelid = "{schema}".messages_table() OR relnamespace = '"{schema}"'::regnamespace)
ORDER BY finding
