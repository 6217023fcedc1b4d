-- fold: moves up to max_deltas pending deltas into the counters, oldest transaction first.
-- Returns the number of folded deltas, and whether more may be pending; no row while another fold, a rebuild or a
-- TRUNCATE is running.
--
-- mark_every: after about this many folded deltas of a sender, its watermark is raised. The first watermark makes it a
-- hot sender, whose deltas are folded into an epoch of its own.
--
-- A watermark is valid if no delta is left of any transaction below it, except of those in its list of running
-- transactions. The watermarks of a fold are valid for these reasons:
-- 1. The snapshot sees every delta of a transaction below its xmax, except those of transactions that it lists as
--    running. A snapshot does not list its own transaction, which may write deltas after this fold, so it is added to
--    the list.
-- 2. The fold takes all deltas that it sees. Below the watermark of sender 0, it reads only the transactions in the
--    list of this watermark: the watermark is valid, and a transaction that has ended writes no more deltas.
-- 3. A fold that stops at max_deltas has taken all deltas below the last transaction that it read. The watermark is
--    set to this transaction, or is not changed. The transactions of the former list that the fold did not reach stay
--    in it.
-- 4. A lower watermark with a shorter list is also valid. So the list stays short, even with many writers.
-- So an open transaction costs a reader one look-up, not a scan of all deltas that were folded since it began.
--
-- The bounds of a sender are raised after about mark_every / 4 messages that left a status (bounds.sql), and always
-- when the sender has no message left, because it then needs no row. Bounds of the last minute are not raised:
-- otherwise a sender whose messages come one by one, and leave at once, would be raised in each fold. The lock on
-- messages is taken before that of the fold, as in a TRUNCATE. No bounds are raised while another transaction has
-- locked messages exclusively, if a policy may hide messages from their owner, or if an adopted table no longer exists.
--
-- The fold also records its deltas for the history (history.sql), except corrections (came has 16): on a node of a
-- cluster, the messages of a shard that was moved to the node.
--
-- The settings make the plans independent of statistics and of the server's settings: nested loops over indexes.
-- places: schema, messages_oid, locked, has_created
CREATE OR REPLACE FUNCTION "{schema}".fold(max_deltas integer DEFAULT 20000, mark_every double precision DEFAULT 2000)
RETURNS TABLE (folded integer, is_more boolean)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
SET jit = off SET work_mem = '16MB'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  max_running CONSTANT integer := 32;
  old_watermark xid8;
  old_running xid8[];
  pending tid[];
  last_taken xid8;
  new_watermark xid8;
  new_running xid8[];
  can_raise boolean := "{has_created}" AND NOT row_security_active("{messages_oid}");
  has_bounds boolean;
  minute timestamp with time zone;
BEGIN
  IF can_raise THEN
    BEGIN
      LOCK TABLE "{locked}" IN ACCESS SHARE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      can_raise := false;
    END;
  END IF;
  IF NOT "{schema}".take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  has_bounds := EXISTS (SELECT FROM "{schema}".bounds WHERE sender_id = 0 AND new = 'infinity');
  -- A fold that is lost in a crash does no harm: its deltas are pending again. So it does not wait for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM "{schema}".follow_partitions();
  minute := "{schema}".cover_history();

  SELECT coalesce(max(watermark), '0'), coalesce(max(running), '{}') INTO old_watermark, old_running
  FROM "{schema}".trusted_watermarks WHERE sender_id = 0;

  -- Only a fold deletes deltas, so these rows are still there for the next statement.
  SELECT array_agg(ctid), count(*), max(xid), pg_snapshot_xmax(pg_current_snapshot()),
         ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot()) UNION SELECT pg_current_xact_id_if_assigned())
  INTO pending, folded, last_taken, new_watermark, new_running
  FROM (
    SELECT seen.* FROM unnest(old_running) AS running (id) CROSS JOIN LATERAL (
      SELECT ctid, xid FROM "{schema}".deltas
      WHERE xid = running.id AND xid >= '0' -- always true: the predicate of the fold's own index
      LIMIT max_deltas
    ) AS seen
    UNION ALL
    (SELECT ctid, xid FROM "{schema}".deltas
     WHERE xid >= old_watermark AND xid >= '0' ORDER BY xid LIMIT max_deltas)
    ORDER BY xid LIMIT max_deltas
  ) AS delta;

  is_more := folded = max_deltas;
  IF is_more THEN
    last_taken := coalesce(last_taken, '0');
    -- Deltas of a restored dump may have transaction ids that this server has not assigned yet.
    new_watermark := least(new_watermark, greatest(old_watermark, last_taken));
    new_running := new_running || ARRAY(SELECT id FROM unnest(old_running) AS left_over (id) WHERE id >= last_taken);
  END IF;
  new_running := ARRAY(
    SELECT DISTINCT id FROM unnest(new_running) AS running (id) WHERE id < new_watermark ORDER BY id
  );
  new_watermark := least(new_watermark, new_running[max_running + 1]);
  new_running := new_running[:max_running];

  -- One statement, and so one snapshot: a delta disappears at the moment at which the counters include it.
  WITH gone AS (
    DELETE FROM "{schema}".deltas WHERE ctid = ANY (pending) RETURNING *
  ), marked AS (
    INSERT INTO "{schema}".watermarks (sender_id, watermark, running, epoch, written_by)
    SELECT coalesce(sender_id, 0), new_watermark, new_running, 1, pg_current_xact_id()
    FROM gone GROUP BY ROLLUP (sender_id) HAVING random() * mark_every < count(*)
    ON CONFLICT (sender_id) DO UPDATE SET
      watermark = excluded.watermark, running = excluded.running, written_by = excluded.written_by
  ), next_bound AS MATERIALIZED (
    SELECT next.* FROM (
      SELECT sender_id, random() * mark_every < 4 * sum(
               greatest(-new, 0) + greatest(-proc, 0) + greatest(-retry, 0) + greatest(-hold, 0)
             ) AS is_due, sum(new + proc + retry + hold) AS change, ARRAY[
          min(oldest) FILTER (WHERE new > 0 OR came & 1 <> 0), min(oldest) FILTER (WHERE proc > 0 OR came & 2 <> 0),
          min(oldest) FILTER (WHERE retry > 0 OR came & 4 <> 0), min(oldest) FILTER (WHERE hold > 0 OR came & 8 <> 0)
        ] AS oldest
      FROM gone WHERE has_bounds GROUP BY sender_id
    ) AS arrived
      CROSS JOIN LATERAL "{schema}".next_bound(
        arrived.sender_id, arrived.oldest, can_raise AND (is_due OR change <= 0 AND (
          SELECT least(new, proc, retry, hold) FROM "{schema}".bound_of(arrived.sender_id)
        ) < now() - interval '1 minute' AND 0 = change + (
          SELECT coalesce("{schema}".counter_sum(new + proc + retry + hold), 0)
          FROM "{schema}".current_counters(arrived.sender_id, 'total') WHERE account_id >= 0
        ))
      ) AS next
  ), bounded AS (
    INSERT INTO "{schema}".bounds (sender_id, number, new, proc, retry, hold)
    SELECT * FROM next_bound WHERE least(new, proc, retry, hold) < 'infinity'
  ), unbounded AS (
    DELETE FROM "{schema}".bounds AS former USING next_bound AS next
    WHERE former.sender_id = next.sender_id AND former.number = next.number - 1
  ), by_key AS (
    SELECT sender_id, account_id, campaign_id, isp,
           "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
           "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold,
           "{schema}".counter_sum(greatest(new + proc + retry + hold, 0)) AS arrived,
           "{schema}".counter_sum(greatest(coalesce(net, new + proc + retry + hold), 0)) AS sender_arrived,
           bool_or(coalesce(net, new + proc + retry + hold) < 0) AS sender_lost,
           coalesce(came, 0) >= 16 AS is_correction
    FROM gone GROUP BY sender_id, account_id, campaign_id, isp, coalesce(came, 0) >= 16
  ), recorded AS (
    INSERT INTO "{schema}".history_changes
      (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
    SELECT 60, minute, sender_id, isp, minute, "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
           "{schema}".counter_sum(retry), "{schema}".counter_sum(hold),
           "{schema}".counter_sum(arrived), "{schema}".counter_sum(sender_arrived),
           CASE WHEN bool_or(arrived > new + proc + retry + hold) THEN minute END,
           CASE WHEN bool_or(sender_lost) THEN minute END
    FROM by_key WHERE NOT is_correction GROUP BY sender_id, isp
    HAVING bool_or(new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0 OR arrived <> 0)
  ), by_grouping_set AS (
    SELECT sender_id, "{schema}".grouping_set_of(
             GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0
           ) AS grouping_set,
           coalesce(account_id, 0) AS account_id, coalesce(campaign_id, 0) AS campaign_id, coalesce(isp, '') AS isp,
           "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
           "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold
    FROM by_key GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
  ), change AS MATERIALIZED (
    SELECT by_grouping_set.*, coalesce(watermarks.epoch, 0) AS epoch
    FROM by_grouping_set LEFT JOIN "{schema}".watermarks USING (sender_id)
    WHERE new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0
  ), ranked AS (
    INSERT INTO "{schema}".sender_totals AS kept (sender_id, new, proc, retry, hold)
    SELECT sender_id, new, proc, retry, hold FROM change WHERE grouping_set = 'total' AND epoch = 0
    ON CONFLICT (sender_id) DO UPDATE SET
      new = kept.new + excluded.new, proc = kept.proc + excluded.proc,
      retry = kept.retry + excluded.retry, hold = kept.hold + excluded.hold
  )
  MERGE INTO "{schema}".counters AS kept
  USING change -- each of its rows is looked up by all columns of the index, independent of the tables' statistics
  ON kept.account_id >= 0 -- always true: the predicate of the index to take
    AND kept.sender_id = change.sender_id
    AND kept.grouping_set = change.grouping_set AND kept.epoch = change.epoch
    AND kept.account_id = change.account_id AND kept.campaign_id = change.campaign_id AND kept.isp = change.isp
  WHEN MATCHED AND kept.new + change.new = 0 AND kept.proc + change.proc = 0
    AND kept.retry + change.retry = 0 AND kept.hold + change.hold = 0 THEN
    DELETE
  WHEN MATCHED THEN
    UPDATE SET new = kept.new + change.new, proc = kept.proc + change.proc,
             retry = kept.retry + change.retry, hold = kept.hold + change.hold
  WHEN NOT MATCHED THEN
    INSERT (sender_id, grouping_set, epoch, account_id, campaign_id, isp, new, proc, retry, hold)
    VALUES (change.sender_id, change.grouping_set, change.epoch, change.account_id, change.campaign_id, change.isp,
        change.new, change.proc, change.retry, change.hold);
  RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".fold(integer, double precision) FROM PUBLIC;

-- Functions of the previous release, whose fold called them.
DROP FUNCTION IF EXISTS "{schema}".remember_parts(boolean), "{schema}".partitions();
