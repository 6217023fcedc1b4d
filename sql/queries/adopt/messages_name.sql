-- messages_name: the object that this session locks in place of the messages; NULL if its role may lock none
-- For our own table it is the view: the service's role may lock the view, which locks the table too. Without a lock, a
-- TRUNCATE during a comparison looks like drift.
-- parameters: none
SELECT /* queries/adopt/messages_name.sql */
  CASE
    WHEN NOT EXISTS (SELECT FROM queuestats.adopted WHERE stands) THEN 'queuestats.queued_messages'
    WHEN has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
      THEN cast(cast(oid AS regclass) AS text)
  END AS name
FROM pg_class
WHERE oid = queuestats.messages_table()
