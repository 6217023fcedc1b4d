-- messages_name: the view or table that this session locks to prevent a TRUNCATE; NULL if the role may not lock it
-- For the table messages it is the view: the service's role may lock the view, which locks the table too. Without a
-- lock, a TRUNCATE during a comparison looks like drift.
-- parameters: none
SELECT /* queries/adopt/messages_name.sql */
  CASE
    WHEN NOT EXISTS (SELECT FROM queuestats.adopted WHERE stands) THEN 'queuestats.queued_messages'
    WHEN has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
      THEN cast(cast(oid AS regclass) AS text)
  END AS name
FROM pg_class
WHERE oid = queuestats.messages_table()
