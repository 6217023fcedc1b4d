-- old_snapshot: whatever keeps dead rows from being vacuumed
-- parameters: none
SELECT /* doctor/old_snapshot.sql */
  CASE WHEN holder.transactions > 2000000 THEN 'error' ELSE 'warning' END AS severity,
  format('%s holds a snapshot or transaction that is %s transactions old', holder.name, holder.transactions) AS finding,
  'Dead rows pile up behind it, in messages too. End it, or set idle_in_transaction_session_timeout.' AS advice
FROM (
  SELECT greatest(age(backend_xmin), age(backend_xid)) AS transactions, format('process %s', pid) AS name
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid()
  UNION ALL
  SELECT greatest(age(xmin), age(catalog_xmin)), format('replication slot %s', slot_name)
  FROM pg_replication_slots
  UNION ALL
  SELECT age(transaction), format('prepared transaction %s', gid)
  FROM pg_prepared_xacts
) AS holder
WHERE holder.transactions > 200000
ORDER BY holder.transactions DESC
