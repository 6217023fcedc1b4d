-- messages_name: what to lock for the messages, for statements of this session; NULL if its role may lock nothing
-- Of our own table the view: the service's role may lock that, and the lock is taken on the table too. Without a lock a
-- TRUNCATE beside a comparison looks like drift.
-- parameters: none
SELECT /* queries/adopt/messages_name.sql */
  CASE
    WHEN NOT EXISTS (SELECT FROM queuestats.adopted WHERE stands) THEN 'queuestats.queued_messages'
    WHEN has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
      THEN cast(cast(oid AS regclass) AS text)
  END AS name
FROM pg_class
WHERE oid = queuestats.messages_table()
