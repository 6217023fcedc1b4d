-- oldest_senders: the senders whose oldest message arrived first.
--
-- The oldest message of a sender is not older than its lower limit: its bound (bounds.sql), or `oldest` of its pending
-- deltas if that is earlier. The senders are looked up in the order of their lower limits, a chunk at a time, until
-- row_limit senders are found and no later lower limit can precede the last of them. So the list is exact even if
-- bounds are too early. Such a bound costs a look-up. After max_look_ups the search ends with an error (QS503). The
-- background raises the earliest bounds (raise_bounds).
-- places: schema

-- oldest_of: when the oldest message of each status of a sender arrived; NULL if the count of the status is 0. The
-- same look-up as in queries/from_counters/total_with_oldest.sql.
-- A plain STABLE SQL function, inlined by the planner.
CREATE OR REPLACE FUNCTION "{schema}".oldest_of(of_sender bigint) RETURNS TABLE (
  new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone,
  hold timestamp with time zone
)
LANGUAGE sql STABLE AS $$
  SELECT first_new.created_at, first_proc.created_at, first_retry.created_at, first_hold.created_at
  FROM (
    SELECT "{schema}".counter_sum(new) AS new, "{schema}".counter_sum(proc) AS proc,
           "{schema}".counter_sum(retry) AS retry, "{schema}".counter_sum(hold) AS hold,
           min(oldest) FILTER (WHERE new > 0 OR came & 1 <> 0) AS new_since,
           min(oldest) FILTER (WHERE proc > 0 OR came & 2 <> 0) AS proc_since,
           min(oldest) FILTER (WHERE retry > 0 OR came & 4 <> 0) AS retry_since,
           min(oldest) FILTER (WHERE hold > 0 OR came & 8 <> 0) AS hold_since
    FROM (
      SELECT new, proc, retry, hold, NULL AS oldest, NULL AS came
      FROM "{schema}".current_counters(of_sender, 'total') WHERE account_id >= 0
      UNION ALL
      SELECT new, proc, retry, hold, oldest, came FROM "{schema}".pending_deltas(of_sender, NULL, NULL, NULL)
    ) AS part
  ) AS counted
    CROSS JOIN "{schema}".bound_of(of_sender) AS bound
    LEFT JOIN LATERAL "{schema}".oldest_message(
      of_sender, 'new', CASE WHEN counted.new > 0 THEN least(bound.new, new_since) END
    ) AS first_new ON true
    LEFT JOIN LATERAL "{schema}".oldest_message(
      of_sender, 'proc', CASE WHEN counted.proc > 0 THEN least(bound.proc, proc_since) END
    ) AS first_proc ON true
    LEFT JOIN LATERAL "{schema}".oldest_message(
      of_sender, 'retry', CASE WHEN counted.retry > 0 THEN least(bound.retry, retry_since) END
    ) AS first_retry ON true
    LEFT JOIN LATERAL "{schema}".oldest_message(
      of_sender, 'hold', CASE WHEN counted.hold > 0 THEN least(bound.hold, hold_since) END
    ) AS first_hold ON true
$$;

-- time_in: the time of one status, or the earliest time of all statuses (total).
CREATE OR REPLACE FUNCTION "{schema}".time_in(times "{schema}".bounds, of_status text) RETURNS timestamp with time zone
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE of_status
    WHEN 'new' THEN times.new WHEN 'proc' THEN times.proc WHEN 'retry' THEN times.retry WHEN 'hold' THEN times.hold
    ELSE least(times.new, times.proc, times.retry, times.hold)
  END
$$;

-- oldest_senders: the senders with the oldest messages of a status (total: of any), oldest first, with the time of the
-- oldest message of each status; NULL where there is none. All statements of a STABLE function use the snapshot of the
-- calling statement.
-- SECURITY DEFINER: oldest_message reads the table, while the service's role may read only a view of it.
CREATE OR REPLACE FUNCTION "{schema}".oldest_senders(of_status text, row_limit bigint) RETURNS TABLE (
  sender_id bigint, new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone,
  hold timestamp with time zone
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
  max_look_ups CONSTANT bigint := 10000;
  max_chunk CONSTANT bigint := 1000;
  came_in CONSTANT integer :=
    CASE of_status WHEN 'new' THEN 1 WHEN 'proc' THEN 2 WHEN 'retry' THEN 4 WHEN 'hold' THEN 8 ELSE 15 END;
  chunk bigint := least(row_limit, max_chunk);
  old_watermark xid8;
  old_running xid8[];
  pending bigint[];
  pending_since timestamp with time zone[];
  looked_up bigint[];
  look_ups bigint := 0;
  last_since timestamp with time zone := '-infinity';
  last_sender bigint := 0;
  best "{schema}".bounds[] := '{}';
BEGIN
  IF NOT EXISTS (SELECT FROM "{schema}".bounds WHERE sender_id = 0 AND new = 'infinity') THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the bounds of the oldest messages are not set yet';
  END IF;

  SELECT coalesce(max(watermark), '0'), coalesce(max(running), '{}') INTO old_watermark, old_running
  FROM "{schema}".trusted_watermarks WHERE sender_id = 0;
  SELECT array_agg(sender_id), array_agg(since) INTO pending, pending_since
  FROM (
    SELECT sender_id, min(oldest) AS since
    FROM (
      SELECT * FROM "{schema}".deltas WHERE xid >= old_watermark AND xid >= '0'
      UNION ALL
      SELECT late.* FROM unnest(old_running) AS running (id) CROSS JOIN LATERAL (
        SELECT * FROM "{schema}".deltas WHERE xid = running.id AND xid >= '0' OFFSET 0
      ) AS late
    ) AS delta
    WHERE came & came_in <> 0 OR CASE of_status
        WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold
        ELSE greatest(new, proc, retry, hold)
      END > 0
    GROUP BY sender_id
  ) AS arrived;

  LOOP
    SELECT array_agg(sender_id ORDER BY since, sender_id), max(since) INTO looked_up, last_since
    FROM (
      SELECT sender_id, since FROM unnest(pending, pending_since) AS arrived (sender_id, since)
      WHERE (since, sender_id) > (last_since, last_sender)
      UNION ALL
      SELECT sender_id, since FROM "{schema}".earliest_bounds(of_status, last_since, last_sender, chunk)
      ORDER BY since, sender_id LIMIT chunk
    ) AS lower_limit;
    EXIT WHEN looked_up IS NULL;
    last_sender := looked_up[cardinality(looked_up)];
    look_ups := look_ups + cardinality(looked_up);
    IF look_ups > max_look_ups THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS503', MESSAGE = 'the bounds of the oldest messages are being raised: try again later';
    END IF;

    -- UNION removes duplicates: a sender may be looked up both for its bound and for its deltas.
    best := ARRAY(
      SELECT times
      FROM (
        SELECT unnest(best) AS times
        UNION
        SELECT ROW(candidate.sender_id, 0, oldest.*)::"{schema}".bounds
        FROM unnest(looked_up) AS candidate (sender_id)
          CROSS JOIN LATERAL "{schema}".oldest_of(candidate.sender_id) AS oldest
      ) AS found
      WHERE "{schema}".time_in(times, of_status) IS NOT NULL
      ORDER BY "{schema}".time_in(times, of_status), (times).sender_id LIMIT row_limit
    );
    EXIT WHEN cardinality(looked_up) < chunk OR (last_since, last_sender)
      >= ("{schema}".time_in(best[row_limit], of_status), (best[row_limit]).sender_id);
    chunk := least(2 * chunk, max_chunk);
  END LOOP;
  RETURN QUERY SELECT sender_id, new, proc, retry, hold FROM unnest(best);
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".oldest_senders(text, bigint) FROM PUBLIC;
