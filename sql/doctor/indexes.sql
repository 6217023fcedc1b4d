-- indexes: those that the statements need and that are missing or broken
-- parameters: none
SELECT /* doctor/indexes.sql */ found.severity, found.finding, found.advice
FROM (
  SELECT
    'error' AS severity,
    format('the index %s is %s', wanted.name, CASE WHEN index.indexrelid IS NULL THEN 'missing' ELSE 'invalid' END)
      AS finding,
    CASE
      WHEN index.indexrelid IS NULL THEN format('Make it again as sql/schema.sql has it: %s', wanted.name)
      ELSE format('REINDEX INDEX CONCURRENTLY %s', wanted.name)
    END AS advice
  FROM (
    VALUES ('messages_pkey'), ('messages_sender_id_status'),
    ('queuestats.counters_by_account'), ('queuestats.counters_by_isp'),
    ('queuestats.deltas_sender_id_xid'), ('queuestats.deltas_xid'), ('queuestats.watermarks_pkey'),
    ('queuestats.tokens_in_force')
  ) AS wanted (name)
    LEFT JOIN pg_index AS index ON index.indexrelid = to_regclass(wanted.name)
  WHERE (index.indexrelid IS NULL OR NOT index.indisvalid)
    AND NOT (wanted.name LIKE 'messages\_%' AND EXISTS (SELECT FROM queuestats.adopted))
  UNION ALL
  SELECT
    'warning',
    format('the index %s is invalid, and every write pays for it', broken.indexrelid::regclass),
    format('What a concurrent build left over: DROP INDEX CONCURRENTLY %s', broken.indexrelid::regclass)
  FROM pg_index AS broken
    JOIN pg_class AS indexed ON indexed.oid = broken.indrelid
  WHERE (indexed.oid = queuestats.messages_table() OR indexed.relnamespace = 'queuestats'::regnamespace)
    AND NOT broken.indisvalid
    AND broken.indexrelid::regclass::text ~ '_cc(new|old)\d*$'
) AS found
