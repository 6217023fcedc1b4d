-- unlogged: a table is unlogged, so a crash empties it but not its counts
-- places: schema
-- parameters: none
SELECT /* conditions/unlogged.sql */
  format('%s is unlogged', oid::regclass) AS finding,
  format('ALTER TABLE %s SET LOGGED', oid::regclass) AS command
FROM pg_class
WHERE relpersistence = 'u'
  AND relkind = 'r'
  AND (oid = "{schema}".messages_table() OR relnamespace = '"{schema}"'::regnamespace)
ORDER BY finding
