-- old_snapshot: an old snapshot or transaction keeps dead rows from being vacuumed
-- parameters: none
SELECT /* conditions/old_snapshot.sql */
  format('%s holds a snapshot or transaction that is %s transactions old', holder.name, holder.transactions) AS finding,
  holder.command
FROM (
  SELECT
    greatest(age(backend_xmin), age(backend_xid)) AS transactions,
    format('process %s', pid) AS name,
    format('SELECT pg_terminate_backend(%s)', pid) AS command
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid()
  UNION ALL
  SELECT greatest(age(xmin), age(catalog_xmin)), format('replication slot %s', slot_name), NULL
  FROM pg_replication_slots
  UNION ALL
  SELECT age(transaction), format('prepared transaction %s', gid), format('ROLLBACK PREPARED %L', gid)
  FROM pg_prepared_xacts
) AS holder
WHERE holder.transactions > 200000
ORDER BY holder.transactions DESC
