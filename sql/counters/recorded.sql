-- Functions for readers of the history: see history.sql.
-- Plain STABLE SQL functions, inlined by the planner.
-- begun_as: the sender_id of the row of history_begins for the shard of a sender; NULL on one machine.
-- places: schema, begun_as

-- here_since: when the shard of a sender was counted after it was moved to this node; NULL on one machine. What was
-- recorded earlier, in a former stay, lacks the changes on other nodes.
CREATE OR REPLACE FUNCTION "{schema}".here_since(of_sender bigint) RETURNS timestamp with time zone
LANGUAGE sql STABLE AS $$
  SELECT max(at) FROM "{schema}".history_begins WHERE sender_id = "{begun_as}"
$$;

-- latest_change: the time up to which changes are recorded.
CREATE OR REPLACE FUNCTION "{schema}".latest_change() RETURNS timestamp with time zone
LANGUAGE sql STABLE AS $$
  SELECT greatest("{schema}".history_clock(), (SELECT rolled_until FROM "{schema}".history_steps WHERE step = 60))
$$;

-- changes_not_rolled_up: the recorded changes of a sender that no roll-up has moved into this step of the history.
-- There is one look-up for each minute since the last roll-up, so rows that were rolled up and are not vacuumed yet are
-- not visited. OFFSET 0 keeps the planner from choosing another join.
CREATE OR REPLACE FUNCTION "{schema}".changes_not_rolled_up(of_sender bigint, of_step integer)
RETURNS SETOF "{schema}".history_changes LANGUAGE sql STABLE AS $$
  SELECT found.*
  FROM "{schema}".history_steps AS rolled
    CROSS JOIN LATERAL generate_series(
      rolled_until, "{schema}".latest_change() + "{schema}".seconds(step), "{schema}".seconds(step)
    ) AS due (until)
    CROSS JOIN LATERAL (
      SELECT * FROM "{schema}".history_changes AS change
      WHERE change.step = rolled.step AND change.until = due.until AND change.sender_id = of_sender
      OFFSET 0
    ) AS found
  WHERE rolled.step <= of_step
$$;

-- recorded_changes: the changes of a sender by steps, after a time; it may also return some earlier ones. `at`: the end
-- of the step. A step may have several rows. is_total: true for the sender as a whole, with the ISP ''; false for ISPs.
CREATE OR REPLACE FUNCTION "{schema}".recorded_changes(
  of_sender bigint, of_step integer, since timestamp with time zone, is_total boolean
) RETURNS TABLE (
  at timestamp with time zone, isp text, new bigint, proc bigint, retry bigint, hold bigint, arrived bigint
) LANGUAGE sql STABLE AS $$
  SELECT kept.period + entry.number * "{schema}".seconds(of_step), coalesce(entry.isp, ''),
         entry.new, entry.proc, entry.retry, entry.hold, entry.arrived
  FROM "{schema}".history AS kept
    CROSS JOIN LATERAL unnest(kept.numbers, kept.isps, kept.new, kept.proc, kept.retry, kept.hold, kept.arrived)
      AS entry (number, isp, new, proc, retry, hold, arrived)
  WHERE kept.sender_id = of_sender AND kept.step = of_step AND kept.period > since - "{schema}".period_of(of_step)
    AND (entry.isp IS NULL) = is_total
  UNION ALL
  SELECT "{schema}".start_of("{schema}".seconds(of_step), until - interval '1 microsecond')
           + "{schema}".seconds(of_step),
         CASE WHEN is_total THEN '' ELSE isp END, new, proc, retry, hold,
         CASE WHEN is_total THEN sender_arrived ELSE arrived END
  FROM "{schema}".changes_not_rolled_up(of_sender, of_step)
  WHERE until > since
$$;

-- is_covered: whether folds ran here during a whole time span, and the sender was not recounted within it.
CREATE OR REPLACE FUNCTION "{schema}".is_covered(
  of_sender bigint, of_since timestamp with time zone, of_until timestamp with time zone
) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM "{schema}".history_spans
    WHERE since <= of_since AND until >= of_until - interval '5 seconds'
  ) AND NOT EXISTS (
    SELECT FROM "{schema}".history_begins WHERE sender_id IN (of_sender, 0) AND at > of_since
  ) AND coalesce("{schema}".here_since(of_sender) <= of_since, true)
$$;

-- rates_of: the numbers of messages that arrived and left in the last five full minutes, for each of these ISPs, or
-- for the sender as a whole (is_total, with the ISP ''); NULL where they are not known. last_left: the minute in which
-- the last message left, NULL where none is known. That minute is in history_changes if it is at most an hour and a few
-- minutes ago, otherwise in `history`.
-- PL/pgSQL, so that its plan is not part of the plan of the calling statement.
CREATE OR REPLACE FUNCTION "{schema}".rates_of(of_sender bigint, is_total boolean, of_isps text[]) RETURNS TABLE (
  isp text, arrived bigint, departed bigint, window_from timestamp with time zone, window_to timestamp with time zone,
  last_left timestamp with time zone
) LANGUAGE plpgsql STABLE STRICT ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  last CONSTANT timestamp with time zone := "{schema}".start_of(interval '1 minute', "{schema}".history_clock());
  first CONSTANT timestamp with time zone := last - interval '5 minutes';
  is_known CONSTANT boolean := "{schema}".is_covered(of_sender, first, last);
  here_since CONSTANT timestamp with time zone := coalesce("{schema}".here_since(of_sender), '-infinity');
BEGIN
  RETURN QUERY
  SELECT wanted.isp, CASE WHEN is_known THEN coalesce(recent.arrived, 0) END,
         CASE WHEN is_known THEN coalesce(recent.arrived - recent.change, 0) END,
         first, last, CASE WHEN coalesce(recent.left_at, earlier.left_at) > here_since
           THEN coalesce(recent.left_at, earlier.left_at) - interval '1 minute'
         END
  FROM unnest(of_isps) AS wanted (isp)
    LEFT JOIN (
      SELECT CASE WHEN is_total THEN '' ELSE change.isp END AS isp,
             max(CASE WHEN is_total THEN sender_left_at ELSE change.left_at END) AS left_at,
             "{schema}".counter_sum(CASE WHEN is_total THEN sender_arrived ELSE change.arrived END)
               FILTER (WHERE at > first AND at <= last AND step < 3600) AS arrived,
             "{schema}".counter_sum(new + proc + retry + hold)
               FILTER (WHERE at > first AND at <= last AND step < 3600) AS change
      FROM "{schema}".changes_not_rolled_up(of_sender, 3600) AS change
      GROUP BY 1
    ) AS recent ON recent.isp = wanted.isp
    LEFT JOIN LATERAL (
      SELECT kept.period + entry.number * interval '1 hour' - entry.idle_minutes * interval '1 minute' AS left_at
      FROM "{schema}".history AS kept
        CROSS JOIN LATERAL unnest(kept.numbers, kept.isps, kept.idle_minutes) AS entry (number, isp, idle_minutes)
      WHERE kept.sender_id = of_sender AND kept.step = 3600 AND entry.idle_minutes IS NOT NULL
        AND CASE WHEN is_total THEN entry.isp IS NULL ELSE entry.isp = wanted.isp END
      ORDER BY kept.period DESC, entry.number DESC LIMIT 1
    ) AS earlier ON recent.left_at IS NULL;
END
$$;

-- history_differences: counts at the end of a step that are not the counts of the step before, of the same ISP, plus
-- the changes. After the last step, it compares with the counters, less the changes that are not rolled up. For one
-- sender, or for all (NULL), since the last recount. isp NULL: the sender as a whole.
CREATE OR REPLACE FUNCTION "{schema}".history_differences(of_sender bigint) RETURNS TABLE (
  sender_id bigint, step integer, isp text, at timestamp with time zone, status text, expected bigint, kept bigint
) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH entry AS MATERIALIZED (
    SELECT kept.sender_id, kept.step, entry.isp, kept.period + entry.number * "{schema}".seconds(kept.step) AS at,
           ARRAY[entry.new, entry.proc, entry.retry, entry.hold] AS changes,
           ARRAY[entry.new_count, entry.proc_count, entry.retry_count, entry.hold_count] AS counts
    FROM "{schema}".history AS kept
      CROSS JOIN LATERAL unnest(
        kept.numbers, kept.isps, kept.new, kept.proc, kept.retry, kept.hold,
        kept.new_counts, kept.proc_counts, kept.retry_counts, kept.hold_counts
      ) AS entry (number, isp, new, proc, retry, hold, new_count, proc_count, retry_count, hold_count)
    WHERE of_sender IS NULL OR kept.sender_id = of_sender
  ), present AS (
    SELECT key.sender_id, key.step, key.isp, timestamp with time zone 'infinity' AS at, (
             SELECT ARRAY["{schema}".counter_sum(new), "{schema}".counter_sum(proc),
                          "{schema}".counter_sum(retry), "{schema}".counter_sum(hold)]
             FROM "{schema}".changes_not_rolled_up(key.sender_id, key.step) AS change
             WHERE key.isp IS NULL OR change.isp = key.isp
           ) AS changes, (
             SELECT ARRAY["{schema}".counter_sum(new), "{schema}".counter_sum(proc),
                          "{schema}".counter_sum(retry), "{schema}".counter_sum(hold)]
             FROM "{schema}".current_counters(
                 key.sender_id, CASE WHEN key.isp IS NULL THEN CAST('total' AS "{schema}".grouping_set) ELSE 'isp' END
               ) AS counter
             WHERE counter.account_id >= 0 AND counter.account_id = 0 AND counter.campaign_id = 0
               AND counter.isp = coalesce(key.isp, '')
           ) AS counts
    FROM (SELECT DISTINCT sender_id, step, isp FROM entry) AS key
  ), chained AS (
    SELECT *, lag(at) OVER earlier AS former_at, lag(counts) OVER earlier AS former_counts
    FROM (SELECT * FROM entry UNION ALL SELECT * FROM present) AS step_
    WINDOW earlier AS (PARTITION BY sender_id, step, isp ORDER BY at)
  )
  SELECT chained.sender_id, chained.step, chained.isp, chained.at, count_.status,
         count_.former + count_.change, count_.kept
  FROM chained
    CROSS JOIN LATERAL unnest(ARRAY['new', 'proc', 'retry', 'hold'], former_counts, changes, counts)
      AS count_ (status, former, change, kept)
  WHERE count_.former + count_.change <> count_.kept AND NOT EXISTS (
    SELECT FROM "{schema}".history_begins AS begins
    WHERE begins.sender_id IN (chained.sender_id, 0) AND begins.at > chained.former_at
  ) AND coalesce("{schema}".here_since(chained.sender_id) <= chained.former_at, true)
$$;
