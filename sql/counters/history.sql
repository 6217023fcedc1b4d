-- The history: how the counts of each sender changed, by steps of a minute, ten minutes and an hour.
--
-- A fold appends to history_changes what it folded: a row for each sender and ISP, in the minute of the fold. When the
-- minute is over, roll_up_history adds the sum of the sender to `history`, and a row for each sender and ISP to the
-- next step, ten minutes. When the ten minutes are over, it moves these rows into the hour in the same way. So for
-- every step, each change is in exactly one row: of `history`, or of history_changes if this step is not rolled up yet.
--
-- A row of `history` has the steps of a sender within a period, in arrays of equal length. An ISP of NULL stands for
-- the sender as a whole. Each entry has the changes within the step, and the counts at its end.
-- history_spans has the times in which folds ran without a pause of more than five seconds. history_begins has the
-- times of recounts, of a sender or (0) of all senders. Counts before a recount do not follow from the changes. On a
-- node of a cluster, it also has (below 0) when a shard was counted that had been moved to the node.
-- history_steps has, for each step, the time and the sender of the last row that was rolled up; later rows are not
-- rolled up yet. Once a partition was dropped, it also has the time since which the step is kept.
-- places: schema

-- history_clock: the current time for folds, roll-ups and readers of the history.
CREATE OR REPLACE FUNCTION "{schema}".history_clock() RETURNS timestamp with time zone
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$ SELECT clock_timestamp() $$;

-- seconds: a number of seconds as an interval.
CREATE OR REPLACE FUNCTION "{schema}".seconds(number integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT number * interval '1 second' $$;

-- start_of: the start of the step that contains a time. Steps begin at multiples of their length.
CREATE OR REPLACE FUNCTION "{schema}".start_of(step interval, at timestamp with time zone)
RETURNS timestamp with time zone
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT date_bin(step, at, timestamp with time zone '2000-01-01Z') $$;

-- period_of: the length of time that one row of `history` covers.
CREATE OR REPLACE FUNCTION "{schema}".period_of(step integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE step WHEN 3600 THEN interval '6 hours' ELSE interval '1 hour' END
$$;

-- partition_of: the length of time that one partition of `history` covers.
CREATE OR REPLACE FUNCTION "{schema}".partition_of(step integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE step WHEN 60 THEN interval '1 day' WHEN 600 THEN interval '7 days' ELSE interval '30 days' END
$$;

-- cover_history: records that a fold runs now. Returns the end of the minute to which the changes of the fold belong.
-- If the clock was set back, this is the first minute that is not rolled up.
CREATE OR REPLACE FUNCTION "{schema}".cover_history() RETURNS timestamp with time zone
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now CONSTANT timestamp with time zone := "{schema}".history_clock();
  span "{schema}".history_spans;
  rolled timestamp with time zone;
BEGIN
  SELECT * INTO span FROM "{schema}".history_spans ORDER BY since DESC LIMIT 1;
  IF span.until IS NULL OR span.until < now - interval '5 seconds' THEN
    INSERT INTO "{schema}".history_spans (since, until) VALUES (now, now);
  ELSIF span.until < now - interval '1 second' THEN
    UPDATE "{schema}".history_spans SET until = now WHERE since = span.since;
  END IF;
  SELECT rolled_until INTO rolled FROM "{schema}".history_steps WHERE step = 60;
  IF NOT FOUND THEN
    INSERT INTO "{schema}".history_steps (step, rolled_until, rolled_sender)
    SELECT step, "{schema}".start_of("{schema}".seconds(step), now), 0 FROM (VALUES (60), (600), (3600)) AS all_ (step);
  END IF;
  RETURN interval '1 minute' + greatest("{schema}".start_of(interval '1 minute', now), rolled);
END
$$;

-- begin_history: begins a new history of a sender, or (0) of all senders: later counts do not follow from earlier ones.
CREATE OR REPLACE FUNCTION "{schema}".begin_history(of_sender bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO "{schema}".history_begins (sender_id, at)
  VALUES (of_sender, "{schema}".history_clock()) ON CONFLICT DO NOTHING
$$;

-- record_leaving: records that all messages leave, before a TRUNCATE deletes the counters and the deltas. Pending
-- deltas are recorded first.
CREATE OR REPLACE FUNCTION "{schema}".record_leaving() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  minute CONSTANT timestamp with time zone := "{schema}".cover_history();
BEGIN
  INSERT INTO "{schema}".history_changes
    (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
  SELECT 60, minute, sender_id, isp, minute, -sum(new), -sum(proc), -sum(retry), -sum(hold),
         sum(arrived), sum(sender_arrived), minute, minute
  FROM (
    SELECT sender_id, isp, new, proc, retry, hold, 0 AS arrived, 0 AS sender_arrived
    FROM "{schema}".counters WHERE grouping_set = 'isp'
    UNION ALL
    SELECT sender_id, isp, 0, 0, 0, 0, greatest(new + proc + retry + hold, 0),
           greatest(coalesce(net, new + proc + retry + hold), 0)
    FROM "{schema}".deltas
  ) AS leaving
  GROUP BY sender_id, isp;
END
$$;

-- add_history_partition: creates the partition of `history` for a period if it does not exist. Does not block readers.
-- Roles that may read `history` may read the partition: the former release checks their rights on each table.
CREATE OR REPLACE FUNCTION "{schema}".add_history_partition(of_step integer, of_period timestamp with time zone)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
  first CONSTANT timestamp with time zone := "{schema}".start_of("{schema}".partition_of(of_step), of_period);
  name CONSTANT text := format('history_%s_%s', of_step, to_char(first, 'YYYYMMDD'));
  reader regrole;
BEGIN
  IF to_regclass(format('"{schema}".%I', name)) IS NULL THEN
    EXECUTE format(
      'CREATE TABLE "{schema}".%I (LIKE "{schema}".history INCLUDING ALL) WITH (toast_tuple_target = 128)', name
    );
    FOR reader IN
      SELECT granted.grantee FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS granted
      WHERE oid = '"{schema}".history'::regclass AND privilege_type = 'SELECT' AND grantee NOT IN (0, relowner)
    LOOP
      EXECUTE format('GRANT SELECT ON "{schema}".%I TO %s', name, reader);
    END LOOP;
    EXECUTE format(
      'ALTER TABLE "{schema}".history ATTACH PARTITION "{schema}".%I FOR VALUES FROM (%s, %L) TO (%s, %L)',
      name, of_step, first, of_step, first + "{schema}".partition_of(of_step)
    );
  END IF;
END
$$;

-- drop_history: drops the partitions of a step that ended more than kept_for ago. A partition that is in use is dropped
-- by a later call.
CREATE OR REPLACE FUNCTION "{schema}".drop_history(of_step integer, kept_for interval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' SET timezone = 'UTC' AS $$
DECLARE
  partition name;
BEGIN
  FOR partition IN
    SELECT relname FROM pg_inherits INNER JOIN pg_class ON oid = inhrelid
    WHERE inhparent = '"{schema}".history'::regclass AND starts_with(relname, format('history_%s_', of_step))
      AND to_date(right(relname, 8), 'YYYYMMDD') + "{schema}".partition_of(of_step)
        < "{schema}".history_clock() - kept_for
  LOOP
    EXECUTE format('DROP TABLE "{schema}".%I', partition);
    UPDATE "{schema}".history_steps
    SET kept_since = greatest(kept_since, to_date(right(partition, 8), 'YYYYMMDD') + "{schema}".partition_of(of_step))
    WHERE step = of_step;
  END LOOP;
EXCEPTION WHEN lock_not_available THEN
  NULL;
END
$$;

-- roll_up_step: moves the changes of some senders from one step into `history` and into the next step.
CREATE OR REPLACE FUNCTION "{schema}".roll_up_step(
  of_step integer, of_until timestamp with time zone, first_sender bigint, last_sender bigint
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  next_step CONSTANT integer := CASE of_step WHEN 60 THEN 600 WHEN 600 THEN 3600 END;
  of_period CONSTANT timestamp with time zone := "{schema}".start_of(
    "{schema}".period_of(of_step), of_until - "{schema}".seconds(of_step)
  );
  of_number CONSTANT smallint := extract(EPOCH FROM of_until - of_period) / of_step;
  -- The time up to which changes are recorded.
  latest CONSTANT timestamp with time zone := greatest(
    "{schema}".history_clock(), (SELECT rolled_until FROM "{schema}".history_steps WHERE step = 60)
  );
  moved integer;
BEGIN
  PERFORM "{schema}".add_history_partition(of_step, of_period);
  WITH gone AS (
    DELETE FROM "{schema}".history_changes
    WHERE step = of_step AND until = of_until AND sender_id BETWEEN first_sender AND last_sender RETURNING *
  ), passed_on AS (
    INSERT INTO "{schema}".history_changes
      (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
    SELECT next_step,
           "{schema}".start_of("{schema}".seconds(next_step), of_until - "{schema}".seconds(of_step))
             + "{schema}".seconds(next_step),
           sender_id, isp, of_until, sum(new), sum(proc), sum(retry), sum(hold), sum(arrived), sum(sender_arrived),
           max(left_at), max(sender_left_at)
    FROM gone WHERE next_step IS NOT NULL GROUP BY sender_id, isp
    HAVING sum(new) <> 0 OR sum(proc) <> 0 OR sum(retry) <> 0 OR sum(hold) <> 0
      OR sum(arrived) <> 0 OR sum(sender_arrived) <> 0 OR max(sender_left_at) IS NOT NULL
  ), change AS (
    SELECT sender_id, GROUPING(isp) = 1 AS is_total, coalesce(isp, '') AS isp,
           "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
           "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold,
           CASE GROUPING(isp) WHEN 1 THEN "{schema}".counter_sum(sender_arrived)
                ELSE "{schema}".counter_sum(arrived) END AS arrived,
           CASE GROUPING(isp) WHEN 1 THEN max(sender_left_at) ELSE max(left_at) END AS left_at
    FROM gone GROUP BY GROUPING SETS ((sender_id), (sender_id, isp))
  ), later AS (
    SELECT sender_id, GROUPING(isp) = 1 AS is_total, coalesce(isp, '') AS isp,
           "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
           "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold
    FROM (VALUES (60), (600), (3600)) AS not_rolled_up (step)
      CROSS JOIN LATERAL generate_series(
        of_until + "{schema}".seconds(step), latest + "{schema}".seconds(step), "{schema}".seconds(step)
      ) AS until
      CROSS JOIN LATERAL (
        SELECT sender_id, isp, new, proc, retry, hold FROM "{schema}".history_changes AS change
        WHERE change.step = not_rolled_up.step AND change.until = until.until
          AND change.sender_id BETWEEN first_sender AND last_sender
        OFFSET 0
      ) AS recorded
    WHERE step <= of_step
    GROUP BY GROUPING SETS ((sender_id), (sender_id, isp))
  ), entry AS (
    SELECT change.*, present.new - coalesce(later.new, 0) AS new_count, present.proc - coalesce(later.proc, 0)
             AS proc_count, present.retry - coalesce(later.retry, 0) AS retry_count,
           present.hold - coalesce(later.hold, 0) AS hold_count,
           CAST(extract(EPOCH FROM of_until - change.left_at) / 60 AS smallint) AS idle_minutes
    FROM change LEFT JOIN later USING (sender_id, is_total, isp)
      CROSS JOIN LATERAL (
        SELECT "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
               "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold
        FROM "{schema}".current_counters(
            change.sender_id, CASE WHEN change.is_total THEN CAST('total' AS "{schema}".grouping_set) ELSE 'isp' END
          ) AS counter
        WHERE counter.account_id >= 0 AND counter.account_id = 0 AND counter.campaign_id = 0
          AND counter.isp = change.isp
      ) AS present
    WHERE (change.is_total OR of_step > 60)
      AND (change.new <> 0 OR change.proc <> 0 OR change.retry <> 0 OR change.hold <> 0 OR change.arrived <> 0)
  )
  INSERT INTO "{schema}".history AS kept (
    step, sender_id, period, numbers, isps, new, proc, retry, hold, arrived,
    new_counts, proc_counts, retry_counts, hold_counts, idle_minutes
  )
  SELECT of_step, sender_id, of_period, array_agg(of_number), array_agg(CASE WHEN NOT is_total THEN isp END),
         array_agg(new), array_agg(proc), array_agg(retry), array_agg(hold), array_agg(arrived),
         array_agg(new_count), array_agg(proc_count), array_agg(retry_count), array_agg(hold_count),
         array_agg(idle_minutes)
  FROM entry GROUP BY sender_id
  ON CONFLICT (sender_id, step, period) DO UPDATE SET
    numbers = kept.numbers || excluded.numbers, isps = kept.isps || excluded.isps,
    new = kept.new || excluded.new, proc = kept.proc || excluded.proc,
    retry = kept.retry || excluded.retry, hold = kept.hold || excluded.hold, arrived = kept.arrived || excluded.arrived,
    new_counts = kept.new_counts || excluded.new_counts, proc_counts = kept.proc_counts || excluded.proc_counts,
    retry_counts = kept.retry_counts || excluded.retry_counts, hold_counts = kept.hold_counts || excluded.hold_counts,
    idle_minutes = kept.idle_minutes || excluded.idle_minutes;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;

-- roll_up_history: rolls up about max_changes changes of the oldest step that is over, and drops history that is too
-- old. Returns how many senders it has written and whether there is more to do; no row while a fold, a rebuild or a
-- TRUNCATE is running.
-- Steps of ten minutes are rolled up six minutes late, so that the last five full minutes of each ISP are in
-- history_changes.
CREATE OR REPLACE FUNCTION "{schema}".roll_up_history(
  max_changes integer, kept_by_minute interval, kept_by_ten_minutes interval, kept_by_hour interval
) RETURNS TABLE (rolled_up integer, is_more boolean)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '16MB' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  rolled "{schema}".history_steps;
  due timestamp with time zone;
  first record;
  last_sender bigint;
BEGIN
  IF NOT "{schema}".take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true);
  FOR rolled IN SELECT * FROM "{schema}".history_steps ORDER BY step LOOP
    due := "{schema}".start_of(
      "{schema}".seconds(rolled.step),
      "{schema}".history_clock() - CASE WHEN rolled.step > 60 THEN interval '6 minutes' ELSE interval '0' END
    );
    SELECT until, sender_id INTO first FROM "{schema}".history_changes
    WHERE step = rolled.step AND (until, sender_id) > (rolled.rolled_until, rolled.rolled_sender) AND until <= due
    ORDER BY step, until, sender_id LIMIT 1;
    IF FOUND THEN
      last_sender := (
        SELECT max(sender_id) FROM (
          SELECT sender_id FROM "{schema}".history_changes
          WHERE step = rolled.step AND until = first.until AND sender_id >= first.sender_id
          ORDER BY step, until, sender_id LIMIT max_changes
        ) AS taken
      );
      rolled_up := "{schema}".roll_up_step(rolled.step, first.until, first.sender_id, last_sender);
      UPDATE "{schema}".history_steps SET rolled_until = first.until, rolled_sender = last_sender
      WHERE step = rolled.step;
      is_more := true;
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE "{schema}".history_steps SET rolled_until = due, rolled_sender = 9223372036854775807
    WHERE step = rolled.step AND rolled_until < due;
  END LOOP;
  PERFORM "{schema}".drop_history(60, kept_by_minute), "{schema}".drop_history(600, kept_by_ten_minutes),
          "{schema}".drop_history(3600, kept_by_hour);
  DELETE FROM "{schema}".history_spans WHERE until < "{schema}".history_clock() - kept_by_hour;
  DELETE FROM "{schema}".history_begins WHERE sender_id >= 0 AND at < "{schema}".history_clock() - kept_by_hour;
  rolled_up := 0;
  is_more := false;
  RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".cover_history(), "{schema}".begin_history(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".record_leaving() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".add_history_partition(integer, timestamp with time zone) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".drop_history(integer, interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".roll_up_step(integer, timestamp with time zone, bigint, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".roll_up_history(integer, interval, interval, interval) FROM PUBLIC;
