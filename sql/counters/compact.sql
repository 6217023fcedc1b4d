-- compact: moves the epochs of hot senders that were last compacted longer than compact_after ago into epoch 0, and
-- begins the next epoch of each. Returns how many counters were moved and whether there is more to do; no row while a
-- fold, a rebuild, a TRUNCATE or another compact is running.
-- It moves whole epochs, the oldest first, up to max_counters. An epoch that exceeds max_counters is moved in several
-- calls, and stays the current epoch until it is empty: folds continue to add to it.
-- The settings are those of fold.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".compact(
  max_counters integer DEFAULT 40000, compact_after interval DEFAULT interval '10 s'
) RETURNS TABLE (compacted integer, is_more boolean)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET jit = off SET work_mem = '16MB'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  moving tid[];
  finished bigint[];
BEGIN
  IF NOT "{schema}".take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true);

  -- upto: the number of counters up to the end of this epoch.
  SELECT array_agg(id) FILTER (WHERE upto <= max_counters OR is_oldest),
         array_agg(DISTINCT sender_id) FILTER (WHERE upto <= max_counters),
         coalesce(max(upto) > max_counters, false)
  INTO moving, finished, is_more
  FROM (
    SELECT sender_id, id, count(*) OVER (ORDER BY compacted_at, sender_id) AS upto,
           dense_rank() OVER (ORDER BY compacted_at, sender_id) = 1 AS is_oldest
    FROM (
      SELECT watermarks.sender_id, compacted_at, held.id
      FROM "{schema}".watermarks CROSS JOIN LATERAL (
        SELECT ctid AS id FROM "{schema}".counters
        WHERE counters.sender_id = watermarks.sender_id AND counters.epoch = watermarks.epoch
          AND counters.grouping_set = ANY (enum_range(NULL::"{schema}".grouping_set)) AND counters.account_id >= 0
      ) AS held
      WHERE compacted_at < now() - compact_after
      ORDER BY compacted_at, sender_id LIMIT max_counters + 1
    ) AS due
  ) AS due;
  compacted := coalesce(cardinality(moving), 0);
  IF compacted = 0 THEN
    RETURN NEXT;
    RETURN;
  END IF;

  -- One statement, and so one snapshot. It writes the trusted watermark, because readers trust every watermark that
  -- this transaction writes, also one that came from another cluster.
  WITH moved AS (
    DELETE FROM "{schema}".counters WHERE ctid = ANY (moving) RETURNING *
  ), begun AS (
    UPDATE "{schema}".watermarks AS known
    SET epoch = known.epoch + 1, compacted_at = now(),
        watermark = trusted.watermark, running = trusted.running, written_by = pg_current_xact_id()
    FROM "{schema}".trusted_watermarks AS trusted
    WHERE known.sender_id = ANY (finished) AND trusted.sender_id = known.sender_id
  ), ranked AS (
    INSERT INTO "{schema}".sender_totals AS kept (sender_id, new, proc, retry, hold)
    SELECT sender_id, new, proc, retry, hold FROM moved WHERE grouping_set = 'total'
    ON CONFLICT (sender_id) DO UPDATE SET
      new = kept.new + excluded.new, proc = kept.proc + excluded.proc,
      retry = kept.retry + excluded.retry, hold = kept.hold + excluded.hold
  )
  MERGE INTO "{schema}".counters AS kept
  USING moved AS change
  ON kept.account_id >= 0 -- always true: the predicate of the index to take
    AND kept.sender_id = change.sender_id AND kept.grouping_set = change.grouping_set AND kept.epoch = 0
    AND kept.account_id = change.account_id AND kept.campaign_id = change.campaign_id AND kept.isp = change.isp
  WHEN MATCHED AND kept.new + change.new = 0 AND kept.proc + change.proc = 0
    AND kept.retry + change.retry = 0 AND kept.hold + change.hold = 0 THEN
    DELETE
  WHEN MATCHED THEN
    UPDATE SET new = kept.new + change.new, proc = kept.proc + change.proc,
             retry = kept.retry + change.retry, hold = kept.hold + change.hold
  WHEN NOT MATCHED THEN
    INSERT (sender_id, grouping_set, epoch, account_id, campaign_id, isp, new, proc, retry, hold)
    VALUES (change.sender_id, change.grouping_set, 0, change.account_id, change.campaign_id, change.isp,
        change.new, change.proc, change.retry, change.hold);
  RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".compact(integer, interval) FROM PUBLIC;
