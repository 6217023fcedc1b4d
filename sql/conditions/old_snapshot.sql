-- old_snapshot: a snapshot or transaction older than 200,000 transactions prevents the removal of dead rows
-- A session, a prepared transaction or a replication slot has it. Of another database, only transactions with an id
-- count, because later snapshots of this database start from them. Snapshots of another database do not count.
-- parameters: none
SELECT /* conditions/old_snapshot.sql */
  format('%s holds a snapshot or transaction that is %s transactions old', holder.name, holder.transactions) AS finding,
  holder.command
FROM (
  SELECT
    greatest(
      age(backend_xid), CASE WHEN coalesce(datname, current_database()) = current_database() THEN age(backend_xmin) END
    ) AS transactions,
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
