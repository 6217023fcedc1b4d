-- row_security: row-level security is enabled for tables
-- parameters: none
SELECT /* conditions/row_security.sql */
  format('%s has row-level security', oid::regclass) AS finding,
  format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', oid::regclass) AS command
FROM pg_class
WHERE relrowsecurity
  AND NOT relforcerowsecurity
  AND (oid = queuestats.messages_table() OR relnamespace = 'queuestats'::regnamespace)
ORDER BY finding
