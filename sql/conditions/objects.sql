-- objects: tables, columns, indexes or functions of the service are missing, or differ from what migrate created
-- migrate creates them again, except indexes of messages, because to build these takes a lock that blocks writers.
-- places: schema
-- parameters: none
SELECT /* conditions/objects.sql */
  format('the %s %s %s', made.kind, made.name, CASE WHEN present.name IS NULL THEN 'is missing' ELSE 'was changed' END)
    AS finding,
  CASE
    WHEN present.name IS NULL AND made.name IN ('messages_pkey', 'messages_by_arrival')
      THEN replace(made.definition, ' INDEX ', ' INDEX CONCURRENTLY ')
  END AS command,
  made.kind,
  made.name,
  present.name IS NULL AS is_missing,
  made.definition
FROM "{schema}".objects AS made
  LEFT JOIN "{schema}".catalog_objects() AS present ON present.kind = made.kind AND present.name = made.name
WHERE present.definition IS DISTINCT FROM made.definition
  -- An adopted table is the queue and has no such indexes.
  AND NOT (made.name LIKE 'messages\_%' AND EXISTS (SELECT FROM "{schema}".adopted))
ORDER BY made.kind DESC, made.name
