-- statuses: the enumeration of statuses contains values that no report counts
-- parameters: none
SELECT /* conditions/statuses.sql */
  format('message_status has the value %s, which no report counts', enumlabel) AS finding,
  NULL AS command
FROM pg_enum
WHERE enumtypid = (
    SELECT atttypid FROM pg_attribute WHERE attrelid = queuestats.messages_table() AND attname = 'status'
  )
  AND enumlabel NOT IN ('new', 'proc', 'retry', 'hold')
  AND NOT EXISTS (SELECT FROM queuestats.adopted)
ORDER BY enumlabel
