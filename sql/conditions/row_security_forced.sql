-- row_security_forced: policies may hide messages from the owner, which counts them
-- parameters: none
SELECT /* conditions/row_security_forced.sql */
  format('%s has row-level security, also for its owner', oid::regclass) AS finding,
  format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', oid::regclass) AS command
FROM pg_class
WHERE relforcerowsecurity AND (oid = queuestats.messages_table() OR relnamespace = 'queuestats'::regnamespace)
ORDER BY finding
