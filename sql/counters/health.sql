-- Functions that the conditions of sql/conditions/ and the background proof of the counts call. A shard has none of
-- them.
-- places: schema, locked

-- catalog_objects: the tables, views, columns, indexes and functions of our schema, from the catalog.
-- The settings make the definitions the same in every session.
CREATE OR REPLACE FUNCTION "{schema}".catalog_objects() RETURNS TABLE (kind text, name text, definition text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname::text,
         CASE relkind WHEN 'v' THEN md5(pg_get_viewdef(oid)) ELSE '' END
  FROM pg_class WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
  UNION ALL
  SELECT 'column', format('%s.%s', relname, attname), format_type(atttypid, atttypmod)
  FROM pg_class INNER JOIN pg_attribute ON attrelid = pg_class.oid
  WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT 'index', pg_class.relname::text, pg_get_indexdef(pg_class.oid)
  FROM pg_class INNER JOIN pg_index ON indexrelid = pg_class.oid
    INNER JOIN pg_class AS indexed ON indexed.oid = indrelid
  WHERE indexed.relnamespace = '"{schema}"'::regnamespace AND NOT indexed.relispartition
    OR indexed.oid = "{schema}".messages_table()
      AND pg_class.relname IN ('messages_pkey', 'messages_by_arrival')
  UNION ALL
  SELECT 'function', pg_proc.oid::regprocedure::text,
         md5(format('%s %s %s %s', prosrc, prosecdef, proconfig, pg_get_function_result(pg_proc.oid)))
  FROM pg_proc WHERE pronamespace = '"{schema}"'::regnamespace
$$;

-- effective_settings: the settings that a new session of a role has in this database. time_limit: the value of a time
-- limit, 0 for none.
CREATE OR REPLACE FUNCTION "{schema}".effective_settings(of_role text) RETURNS TABLE (
  role text, name text, value text, time_limit interval
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
  SELECT of_role, name, value, CASE WHEN unit = 'ms' THEN
           CASE WHEN value ~ '^\d+$' THEN format('%s ms', value) ELSE value END::interval
         END
  FROM (
    SELECT DISTINCT ON (pg_settings.name) pg_settings.name, given.value, unit
    FROM pg_settings CROSS JOIN LATERAL (
      SELECT substr(setting, length(pg_settings.name) + 2) AS value, setrole <> 0 AS is_of_role,
             setdatabase <> 0 AS is_of_database, true AS is_of_catalog
      FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
      WHERE starts_with(setting, pg_settings.name || '=')
        AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = of_role))
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      UNION ALL
      -- Settings of this session do not apply to the role.
      SELECT CASE WHEN source IN ('global', 'database', 'user', 'database user', 'client', 'session') THEN boot_val
                  ELSE reset_val END, false, false, false
    ) AS given
    -- ALTER ROLE ALL takes precedence over the server's own settings.
    ORDER BY pg_settings.name, is_of_role DESC, is_of_database DESC, is_of_catalog DESC
  ) AS effective
  WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = of_role AND NOT rolsuper)
    -- The limits of the owner are not examined.
    AND of_role <> (SELECT relowner::regrole::text FROM pg_class WHERE oid = '"{schema}".counters'::regclass)
$$;

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
