-- unlogged: a table is unlogged: a crash empties it, and then the counts and the messages differ
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
