-- Functions that the conditions of sql/conditions/ and the background proof of the counts call. A node of a cluster has
-- none of them.
-- places: schema, locked

-- random_senders: up to this many senders, half of them with counters, half with messages.
CREATE OR REPLACE FUNCTION "{schema}".random_senders(most integer) RETURNS SETOF bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
  WITH bounds AS (SELECT min(sender_id) AS least, max(sender_id) AS greatest FROM "{schema}".sender_totals)
  SELECT counted.sender_id
  FROM bounds CROSS JOIN generate_series(1, most / 2) AS number CROSS JOIN LATERAL (
    SELECT sender_id FROM "{schema}".sender_totals
    WHERE sender_id >= least + CAST(trunc(random() * (greatest - least + 1)) AS bigint) + 0 * number
    ORDER BY sender_id LIMIT 1
  ) AS counted
  UNION
  SELECT sender_id FROM (
    SELECT sender_id FROM "{schema}".senders_at(ARRAY(
      SELECT format('(%s,%s)', trunc(random() * pages)::bigint, 1 + trunc(random() * 20)::bigint)::tid
      FROM generate_series(1, 10 * most) CROSS JOIN (
        SELECT max(pg_relation_size(relid)) / current_setting('block_size')::bigint AS pages
        FROM pg_partition_tree("{schema}".messages_table())
      ) AS size
    )) AS sender_id
    LIMIT most - most / 2
  ) AS picked
$$;

-- suspect_senders: senders with a count below zero, with grouping sets of different sums, or with counters of an epoch
-- that the sender does not have. Drift causes these. It reads all counters, and no message.
CREATE OR REPLACE FUNCTION "{schema}".suspect_senders() RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET enable_bitmapscan = on AS $$
  SELECT sender_id FROM (
    SELECT sender_id, sum(new + 3 * proc + 5 * retry + 7 * hold) AS weighted
    FROM "{schema}".counters GROUP BY sender_id, grouping_set
  ) AS kept
  GROUP BY sender_id HAVING min(weighted) <> max(weighted)
  UNION
  SELECT sender_id FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold FROM "{schema}".counters
    UNION ALL
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
    FROM "{schema}".deltas_by_grouping_set(NULL, is_from_watermark => false)
  ) AS part
  GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  HAVING least(sum(new), sum(proc), sum(retry), sum(hold)) < 0
  UNION
  SELECT counters.sender_id
  FROM "{schema}".counters LEFT JOIN "{schema}".watermarks ON watermarks.sender_id = counters.sender_id
  WHERE counters.epoch <> 0 AND counters.epoch IS DISTINCT FROM watermarks.epoch
$$;

-- record_drift: records senders whose counts are wrong. Until they are recounted, statements read the messages.
CREATE OR REPLACE FUNCTION "{schema}".record_drift(of_senders bigint[], of_differences bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO "{schema}".drift (sender_id, differences)
  SELECT * FROM unnest(of_senders, of_differences)
  ON CONFLICT (sender_id) DO UPDATE SET differences = excluded.differences, found_at = excluded.found_at;
  IF FOUND THEN
    UPDATE "{schema}".baseline SET doubted_at = now() WHERE doubted_at IS NULL;
  END IF;
END
$$;

-- prove_sample: audits random and suspect senders, and records drift. No row while no run is due: after a run of t
-- seconds, the next run of any process of the service is due in t / share seconds, and in at least ten.
CREATE OR REPLACE FUNCTION "{schema}".prove_sample(share double precision, most integer DEFAULT 10)
RETURNS TABLE (senders integer, drifted integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET row_security = off AS $$
DECLARE
  began CONSTANT timestamptz := clock_timestamp();
  chosen bigint[];
  drifting bigint[];
  differing bigint[];
BEGIN
  INSERT INTO "{schema}".background_tasks (name) VALUES ('proof') ON CONFLICT DO NOTHING;
  PERFORM FROM "{schema}".background_tasks WHERE name = 'proof' AND due_at <= began FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR NOT "{schema}".is_proven() THEN
    RETURN;
  END IF;
  LOCK TABLE "{locked}" IN ACCESS SHARE MODE;
  chosen := ARRAY(
    SELECT * FROM "{schema}".random_senders(most) UNION (SELECT * FROM "{schema}".suspect_senders() LIMIT most)
  );
  SELECT array_agg(sender_id), array_agg(differences) INTO drifting, differing
  FROM (
    SELECT chosen_sender AS sender_id, count(*) AS differences
    FROM unnest(chosen) AS chosen_sender CROSS JOIN LATERAL "{schema}".audit(chosen_sender)
    GROUP BY chosen_sender
  ) AS found;
  PERFORM "{schema}".record_drift(drifting, differing);
  UPDATE "{schema}".background_tasks
  SET succeeded_at = clock_timestamp(), error = NULL, failing_since = NULL,
      due_at = clock_timestamp() + greatest((clock_timestamp() - began) / share, interval '10 seconds')
  WHERE name = 'proof';
  RETURN QUERY SELECT cardinality(chosen), coalesce(cardinality(drifting), 0);
END
$$;

-- note_task: records that a background task succeeded (of_error NULL), or failed.
CREATE OR REPLACE FUNCTION "{schema}".note_task(of_task text, of_error text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO "{schema}".background_tasks AS task (name, succeeded_at, failed_at, failing_since, error)
  VALUES (of_task, CASE WHEN of_error IS NULL THEN now() END, CASE WHEN of_error IS NOT NULL THEN now() END,
          CASE WHEN of_error IS NOT NULL THEN now() END, of_error)
  ON CONFLICT (name) DO UPDATE SET
    succeeded_at = coalesce(excluded.succeeded_at, task.succeeded_at),
    failed_at = coalesce(excluded.failed_at, task.failed_at),
    failing_since = CASE WHEN of_error IS NOT NULL THEN coalesce(task.failing_since, now()) END,
    error = of_error
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".record_drift(bigint[], bigint[]), "{schema}".note_task(text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".prove_sample(double precision, integer) FROM PUBLIC;
