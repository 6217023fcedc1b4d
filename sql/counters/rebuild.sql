-- rebuild: recounts the messages of one sender, or of all senders (NULL), while writers continue.
-- If the snapshot of the counting statement does not see a message, it does not see its delta either. Deltas that it
-- sees are subtracted here and remain; the next fold adds them again. Readers see the old counters until the commit.
-- row_security = off: a policy that hides messages causes an error and not a smaller count.
-- places: schema, locked, is_mapped
CREATE OR REPLACE FUNCTION "{schema}".rebuild(of_sender bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '64MB' SET plan_cache_mode = force_custom_plan
SET row_security = off AS $$
BEGIN
  -- Locks messages before the fold's lock, in the same order as TRUNCATE.
  LOCK TABLE "{locked}" IN ACCESS SHARE MODE;
  PERFORM "{schema}".take_fold_lock(is_waiting => true);

  IF of_sender IS NULL THEN
    INSERT INTO "{schema}".baseline DEFAULT VALUES ON CONFLICT (stands) DO UPDATE SET counted_at = excluded.counted_at;
    IF "{is_mapped}" THEN
      -- What the snapshot of this statement sees, the count sees too.
      DELETE FROM "{schema}".uncounted_writes;
    END IF;
    -- Before the count, so that a change during the count has another version.
    PERFORM "{schema}".remember_proof();
    -- After the count: a trigger that was disabled by now is disabled in those versions, or has another version.
    IF EXISTS (SELECT FROM "{schema}".trigger_state() WHERE is_missing OR is_off) THEN
      RAISE object_not_in_prerequisite_state USING
        MESSAGE = format('a trigger that counts %s is missing or disabled', "{schema}".messages_table()),
        HINT = 'Run queuestats migrate.';
    END IF;
  END IF;

  DELETE FROM "{schema}".drift WHERE of_sender IS NULL OR sender_id = of_sender;
  UPDATE "{schema}".baseline SET doubted_at = NULL
  WHERE doubted_at IS NOT NULL AND NOT EXISTS (SELECT FROM "{schema}".drift);
  -- A transaction id that was not assigned yet comes from another cluster, through a dump: no fold would take the
  -- delta.
  DELETE FROM "{schema}".deltas
  WHERE (of_sender IS NULL OR sender_id = of_sender) AND xid >= pg_snapshot_xmax(pg_current_snapshot());
  DELETE FROM "{schema}".counters WHERE of_sender IS NULL OR sender_id = of_sender;
  UPDATE "{schema}".watermarks
  SET watermark = '0', running = '{}', epoch = epoch + 1, compacted_at = now(), written_by = pg_current_xact_id()
  WHERE of_sender IS NULL OR sender_id IN (of_sender, 0);

  INSERT INTO "{schema}".counters
    (sender_id, grouping_set, epoch, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, grouping_set, 0, account_id, campaign_id, isp,
         counted.new, counted.proc, counted.retry, counted.hold
  FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp,
           "{schema}".counter_sum(part.new) AS new, "{schema}".counter_sum(part.proc) AS proc,
           "{schema}".counter_sum(part.retry) AS retry, "{schema}".counter_sum(part.hold) AS hold
    FROM (
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
      FROM "{schema}".recount(of_sender)
      UNION ALL
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, -new, -proc, -retry, -hold
      FROM "{schema}".deltas_by_grouping_set(of_sender, is_from_watermark => false)
    ) AS part
    GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  ) AS counted
  WHERE counted.new <> 0 OR counted.proc <> 0 OR counted.retry <> 0 OR counted.hold <> 0;

  DELETE FROM "{schema}".sender_totals WHERE of_sender IS NULL OR sender_id = of_sender;
  INSERT INTO "{schema}".sender_totals (sender_id, new, proc, retry, hold)
  SELECT sender_id, new, proc, retry, hold FROM "{schema}".counters
  WHERE grouping_set = 'total' AND epoch = 0 AND (of_sender IS NULL OR sender_id = of_sender);
  PERFORM "{schema}".set_bounds(of_sender);
  PERFORM "{schema}".begin_history(coalesce(of_sender, 0));
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".rebuild(bigint) FROM PUBLIC;
