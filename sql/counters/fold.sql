-- fold: moves up to max_deltas pending deltas into the counters, oldest transaction first.
-- Returns how many were folded and whether more may be waiting; no row while another folder, a rebuild or a TRUNCATE is
-- at work.
--
-- mark_every: about every so many folded deltas of a sender its watermark moves on; the first watermark makes it a hot
-- sender.
-- compact_after: hot senders whose epoch is older than this are compacted: what that epoch holds goes into
-- epoch 0. NULL: none. A fold compacts two counters for each delta that it may fold, which takes about as long: whole
-- epochs, the oldest first; where some are left, there is more to do. An epoch that is too large by itself is
-- moved in parts, by folds that do nothing else, and the next one begins when it is empty.
-- The settings keep statistics and the operator's own settings out of the plans: nested loops over indexes, whatever
-- the tables hold.
CREATE OR REPLACE FUNCTION queuestats.fold(
  max_deltas integer DEFAULT 20000, mark_every double precision DEFAULT 2000, compact_after interval DEFAULT NULL
) RETURNS TABLE (folded integer, is_more boolean)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET jit = off SET work_mem = '16MB'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  max_compacted CONSTANT bigint := greatest(1, 2::bigint * max_deltas);
  pending tid[];
  gone_below xid8;
  moving tid[];
  compacting bigint[];
  is_compacted boolean := true;
BEGIN
  IF NOT queuestats.take_folder_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  -- To lose a fold in a crash is harmless: its deltas come back. So nobody waits for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);

  -- All transactions below the snapshot's xmin are over, and what they left is seen here. Only a folder deletes deltas,
  -- so these rows are still there for the next statement.
  -- Stopped at its limit, it has seen all below the last id that it took; of a limit of 0, none.
  SELECT array_agg(delta.ctid),
         least(pg_snapshot_xmin(pg_current_snapshot()),
               CASE WHEN count(*) = max_deltas THEN coalesce(max(delta.xid), '0') END)
  INTO pending, gone_below
  FROM (
    SELECT ctid, xid FROM queuestats.deltas
    WHERE xid >= coalesce((SELECT watermark FROM queuestats.trusted_watermarks WHERE sender_id = 0), '0')
      AND xid >= '0' -- always true: the predicate of the folder's own index
    ORDER BY xid LIMIT max_deltas
  ) AS delta;

  IF compact_after IS NOT NULL THEN
    -- upto: how many counters there are up to the end of this one's epoch.
    SELECT array_agg(id) FILTER (WHERE upto <= max_compacted OR is_oldest),
           array_agg(DISTINCT sender_id) FILTER (WHERE upto <= max_compacted),
           coalesce(max(upto) <= max_compacted, true)
    INTO moving, compacting, is_compacted
    FROM (
      SELECT sender_id, id, count(*) OVER (ORDER BY compacted_at, sender_id) AS upto,
             dense_rank() OVER (ORDER BY compacted_at, sender_id) = 1 AS is_oldest
      FROM (
        SELECT watermarks.sender_id, compacted_at, held.id
        FROM queuestats.watermarks CROSS JOIN LATERAL (
          SELECT ctid AS id FROM queuestats.counters
          WHERE counters.sender_id = watermarks.sender_id AND counters.epoch = watermarks.epoch
            AND counters."grouping" = ANY ('{0,1,2,3,4,5,6,7}') AND counters.account_id >= 0
        ) AS held
        WHERE compacted_at < now() - compact_after
        ORDER BY compacted_at, sender_id LIMIT max_compacted + 1
      ) AS due
    ) AS due;
    IF moving IS NOT NULL AND compacting IS NULL THEN
      -- A part of an epoch. Deltas would be added to the very counters that leave it.
      pending := NULL;
    END IF;
  END IF;
  folded := coalesce(cardinality(pending), 0);
  is_more := folded = max_deltas OR NOT is_compacted;

  -- One statement, and so one snapshot: a delta is gone in the very instant in which the counters have it.
  WITH gone AS (
    DELETE FROM queuestats.deltas WHERE ctid = ANY (pending) RETURNING *
  ), due AS (
    SELECT sender_id, epoch FROM queuestats.watermarks WHERE sender_id = ANY (compacting)
  ), compacted AS (
    DELETE FROM queuestats.counters WHERE ctid = ANY (moving) RETURNING *
  ), marked AS (
    INSERT INTO queuestats.watermarks AS known (sender_id, watermark, epoch, written_by)
    SELECT sender_id, gone_below, coalesce(due.epoch + 1, 1), pg_current_xact_id()
    FROM (
      SELECT coalesce(sender_id, 0) AS sender_id FROM gone
      GROUP BY ROLLUP (sender_id) HAVING random() * mark_every < count(*)
      UNION SELECT sender_id FROM due
    ) AS chosen LEFT JOIN due USING (sender_id)
    ON CONFLICT (sender_id) DO UPDATE SET
      watermark = excluded.watermark, written_by = excluded.written_by,
      epoch = greatest(known.epoch, excluded.epoch),
      compacted_at = CASE WHEN excluded.epoch > known.epoch THEN excluded.compacted_at ELSE known.compacted_at END
  ), by_key AS (
    SELECT sender_id, account_id, campaign_id, isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold
    FROM gone GROUP BY sender_id, account_id, campaign_id, isp
  ), by_grouping AS (
    SELECT sender_id, GROUPING(account_id, campaign_id, isp)::smallint AS "grouping",
           coalesce(account_id, 0) AS account_id, coalesce(campaign_id, 0) AS campaign_id, coalesce(isp, '') AS isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold
    FROM by_key GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
  )
  MERGE INTO queuestats.counters AS kept
  USING (
    SELECT by_grouping.*, coalesce(due.epoch + 1, watermarks.epoch, 0) AS epoch
    FROM by_grouping LEFT JOIN queuestats.watermarks USING (sender_id) LEFT JOIN due USING (sender_id)
    WHERE new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0
    UNION ALL
    SELECT sender_id, "grouping", account_id, campaign_id, isp, new, proc, retry, hold, 0 FROM compacted
  ) AS change
  ON kept.account_id >= 0 -- always true: the predicate of the index to take
    AND kept.sender_id = change.sender_id
    AND kept."grouping" = change."grouping" AND kept.epoch = change.epoch
    AND kept.account_id = change.account_id AND kept.campaign_id = change.campaign_id AND kept.isp = change.isp
  WHEN MATCHED AND kept.new + change.new = 0 AND kept.proc + change.proc = 0
    AND kept.retry + change.retry = 0 AND kept.hold + change.hold = 0 THEN
    DELETE
  WHEN MATCHED THEN
    UPDATE SET new = kept.new + change.new, proc = kept.proc + change.proc,
             retry = kept.retry + change.retry, hold = kept.hold + change.hold
  WHEN NOT MATCHED THEN
    INSERT (sender_id, "grouping", epoch, account_id, campaign_id, isp, new, proc, retry, hold)
    VALUES (change.sender_id, change."grouping", change.epoch, change.account_id, change.campaign_id, change.isp,
        change.new, change.proc, change.retry, change.hold);
  RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION queuestats.fold(integer, double precision, interval) FROM PUBLIC;
