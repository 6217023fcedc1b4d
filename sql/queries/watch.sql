-- watch: the number of pending deltas, and the age of the oldest snapshot; both slow down reads of the counters
-- `oldest_snapshot_transactions`: the number of transactions since the oldest snapshot was taken, or since the oldest
-- open transaction began to write. Rows that were deleted since then cannot be vacuumed. `pending_deltas` is at most
-- `most_deltas`. It does not count deltas of transactions that were running when the watermark was set.
-- places: schema
-- parameters: most_deltas bigint
SELECT /* queries/watch.sql */
  (
    SELECT count(*)
    FROM (
      SELECT
      FROM "{schema}".deltas
      WHERE xid >= coalesce((SELECT watermark FROM "{schema}".trusted_watermarks WHERE sender_id = 0), '0')
        AND xid >= '0'
      LIMIT cast(:most_deltas AS bigint)
    ) AS pending
  ) AS pending_deltas,
  coalesce(oldest.transactions, 0) AS oldest_snapshot_transactions,
  oldest.holder AS oldest_snapshot_holder
FROM (VALUES (1)) AS always (one)
  LEFT JOIN (
    SELECT greatest(age(backend_xmin), age(backend_xid)) AS transactions, format('process %s', pid) AS holder
    FROM pg_stat_activity
    WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
    UNION ALL
    SELECT age(xmin), format('replication slot %s', slot_name)
    FROM pg_replication_slots
    WHERE xmin IS NOT NULL
    UNION ALL
    SELECT age(transaction), format('prepared transaction %s', gid)
    FROM pg_prepared_xacts
    ORDER BY transactions DESC
    LIMIT 1
  ) AS oldest ON true
