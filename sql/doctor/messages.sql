-- messages: what makes the counts of this table wrong, or hides messages from whoever recounts them
-- parameters: none
SELECT /* doctor/messages.sql */ found.severity, found.finding, found.advice
FROM (
  SELECT
    'error' AS severity,
    format('message_status has the value %s, which nothing counts', enumlabel) AS finding,
    'Give these messages one of the four statuses: no answer has them.' AS advice
  FROM pg_enum
  WHERE enumtypid = (
      SELECT atttypid FROM pg_attribute WHERE attrelid = queuestats.messages_table() AND attname = 'status'
    )
    AND enumlabel NOT IN ('new', 'proc', 'retry', 'hold')
  UNION ALL
  SELECT
    'warning',
    format('%s is unlogged: a crash empties it, and what is counted stays', oid::regclass),
    format('ALTER TABLE %s SET LOGGED', oid::regclass)
  FROM pg_class
  WHERE relpersistence = 'u'
    AND relkind = 'r'
    AND (oid = queuestats.messages_table() OR relnamespace = cast('queuestats' AS regnamespace))
  UNION ALL
  SELECT
    CASE WHEN relforcerowsecurity THEN 'error' ELSE 'warning' END,
    format('%s has row-level security', oid::regclass),
    'A policy that hides messages from the owner stops rebuild and verify: NO FORCE ROW LEVEL SECURITY.'
  FROM pg_class
  WHERE (relrowsecurity OR relforcerowsecurity)
    AND (oid = queuestats.messages_table() OR relnamespace = cast('queuestats' AS regnamespace))
  UNION ALL
  SELECT
    'warning',
    format('a column of %s, or the table itself, was renamed after it was adopted', queuestats.messages_table()),
    'The counts follow. Write the new name into the mapping, and run queuestats adopt --attach before the next migrate.'
  FROM queuestats.adopted
  WHERE definition <> queuestats.mapping_definition()
) AS found
ORDER BY found.severity, found.finding
