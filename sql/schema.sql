-- The newest schema, with the rights of the service's role, as pg_dump writes it. Generated: `make schema`.
-- A database gets it from migrations/, and what follows the last revision from sql/counters/ and sql/roles.sql.

CREATE SCHEMA queuestats;

CREATE TYPE public.message_status AS ENUM (
    'new',
    'proc',
    'retry',
    'hold'
);

CREATE TYPE queuestats.grouping_set AS ENUM (
    'total',
    'account',
    'campaign',
    'isp',
    'account_campaign',
    'account_isp',
    'campaign_isp',
    'account_campaign_isp'
);

CREATE FUNCTION queuestats.add_history_partition(of_step integer, of_period timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, YMD'
    AS $$
DECLARE
  first CONSTANT timestamp with time zone := queuestats.start_of(queuestats.partition_of(of_step), of_period);
  name CONSTANT text := format('history_%s_%s', of_step, to_char(first, 'YYYYMMDD'));
  reader regrole;
BEGIN
  IF to_regclass(format('queuestats.%I', name)) IS NULL THEN
    EXECUTE format(
      'CREATE TABLE queuestats.%I (LIKE queuestats.history INCLUDING ALL) WITH (toast_tuple_target = 128)', name
    );
    FOR reader IN
      SELECT granted.grantee FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS granted
      WHERE oid = 'queuestats.history'::regclass AND privilege_type = 'SELECT' AND grantee NOT IN (0, relowner)
    LOOP
      EXECUTE format('GRANT SELECT ON queuestats.%I TO %s', name, reader);
    END LOOP;
    EXECUTE format(
      'ALTER TABLE queuestats.history ATTACH PARTITION queuestats.%I FOR VALUES FROM (%s, %L) TO (%s, %L)',
      name, of_step, first, of_step, first + queuestats.partition_of(of_step)
    );
  END IF;
END
$$;

CREATE FUNCTION queuestats.advance_job(of_job bigint DEFAULT NULL::bigint, most_pending bigint DEFAULT 20000) RETURNS TABLE(job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean, failed bigint, error text, left_holds bigint, left_messages bigint, waits_for text)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
<<own>>
DECLARE
  most_failed CONSTANT bigint := 1000;
  job queuestats.jobs;
  is_of_this_cluster boolean;
  chunk queuestats.job_chunks;
  done record;
  waits_for text;
BEGIN
  of_job := coalesce(of_job, queuestats.next_job());
  SELECT * INTO job FROM queuestats.jobs WHERE finished_at IS NULL AND id = of_job FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  newly_changed := 0;
  -- As for a watermark, a transaction id is not valid in another cluster.
  SELECT xmin = written_by::xid AND written_by < pg_snapshot_xmax(pg_current_snapshot()) INTO is_of_this_cluster
  FROM queuestats.jobs WHERE id = job.id;
  IF is_of_this_cluster IS NOT TRUE THEN
    job.blockers := NULL;
    job.settles_at := CASE WHEN job.settles_at IS NOT NULL THEN pg_snapshot_xmax(pg_current_snapshot()) END;
  END IF;

  waits_for := queuestats.away(job.sender_id);
  IF waits_for IS NOT NULL THEN
    NULL; -- The node that will have the shard continues.
  ELSIF job.state = 'waiting' THEN
    job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
    job.matched := queuestats.collect_job(job);
    job.state := 'working';
  ELSIF job.state = 'settling' THEN
    job.blockers := CASE
        WHEN job.blockers IS NULL THEN queuestats.writers_before(job.settles_at)
        ELSE queuestats.still_running(job.blockers)
      END;
    IF job.blockers = '{}' THEN
      job.matched := job.matched - job.failed + queuestats.collect_job(job);
      -- Messages that could not be changed are collected and tried again.
      job.failed := 0;
      job.settles_at := NULL;
      job.state := 'working';
    ELSE
      waits_for := queuestats.names_of(job.blockers);
    END IF;
  ELSIF job.requested_by_kind <> 'expiry' AND queuestats.has_pending_deltas(most_pending) THEN
    waits_for := format('the fold: %s deltas are pending', most_pending);
  ELSE
    SELECT * INTO chunk FROM queuestats.job_chunks WHERE job_id = job.id ORDER BY number LIMIT 1;
    IF FOUND THEN
      done := queuestats.change_chunk(job, chunk, false);
      newly_changed := done.changed;
      job.changed := job.changed + done.changed;
      job.failed := job.failed + done.failed;
      job.error := coalesce(job.error, left(done.error, 500));
      IF done.has_left_some AND done.changed = 0 THEN
        waits_for := queuestats.lockers_of(job.id);
      END IF;
      DELETE FROM queuestats.job_chunks WHERE job_id = job.id AND (number = chunk.number OR job.failed >= most_failed);
    ELSIF job.settles_at IS NOT NULL AND job.action <> 'purge' AND job.failed < most_failed THEN
      -- A job with at_most collects its messages before other transactions see its hold, or the end of a hold.
      job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
      job.state := 'settling';
    ELSE
      job.state := CASE WHEN job.failed > 0 THEN 'failed' ELSE 'done' END;
      job.finished_at := now();
      PERFORM queuestats.log_job(job, CASE WHEN job.failed > 0 THEN 'fail' ELSE 'finish' END);
    END IF;
  END IF;

  -- A waiting job is skipped for a quarter of the time that it has waited, 0.05 to 5 seconds.
  job.waits_since := CASE WHEN waits_for IS NOT NULL THEN coalesce(job.waits_since, now()) END;
  UPDATE queuestats.jobs SET
    state = job.state, matched = job.matched, changed = job.changed, settles_at = job.settles_at,
    finished_at = job.finished_at, failed = job.failed, error = job.error, blockers = job.blockers, attempts = 0,
    waits_for = own.waits_for, waits_since = job.waits_since, stepped_at = clock_timestamp(),
    written_by = pg_current_xact_id(),
    run_at = now() + CASE WHEN own.waits_for IS NULL THEN '0' ELSE
        least(greatest((now() - job.waits_since) / 4, interval '50 milliseconds'), interval '5 seconds')
      END
  WHERE id = job.id;
  RETURN QUERY SELECT
    job.id, job.action, job.state, job.matched, job.changed, newly_changed, own.waits_for IS NOT NULL, job.failed,
    job.error, job.left_holds, job.left_messages, own.waits_for;
END
$$;

CREATE FUNCTION queuestats.are_partitions_kept(triggers bigint[], partitions bigint[]) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  SELECT NOT bool_or(is_leaving) AND array_agg(version ORDER BY version) = partitions AND cardinality(triggers) = (
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid = ANY (queuestats.messages_table()::oid || array_agg(partition))
      AND hash_record_extended(ROW(oid, xmin), 0) = ANY (triggers)
  ) + (SELECT count(*) FROM queuestats.column_versions() AS kept (version) WHERE kept.version = ANY (triggers))
  FROM queuestats.partition_versions()
$$;

CREATE FUNCTION queuestats.arrivals() RETURNS TABLE(are_known boolean)
    LANGUAGE sql STABLE
    AS $$ SELECT true OR queuestats.require_arrivals() $$;

CREATE FUNCTION queuestats.audit(of_sender bigint DEFAULT NULL::bigint) RETURNS TABLE(sender_id bigint, grouping_set queuestats.grouping_set, account_id bigint, campaign_id bigint, isp text, counted_new bigint, counted_proc bigint, counted_retry bigint, counted_hold bigint, counted_other bigint, kept_new bigint, kept_proc bigint, kept_retry bigint, kept_hold bigint, kept_other bigint)
    LANGUAGE plpgsql STABLE
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp,
           queuestats.counter_sum(new) FILTER (WHERE is_recount) AS counted_new,
           queuestats.counter_sum(proc) FILTER (WHERE is_recount) AS counted_proc,
           queuestats.counter_sum(retry) FILTER (WHERE is_recount) AS counted_retry,
           queuestats.counter_sum(hold) FILTER (WHERE is_recount) AS counted_hold,
           queuestats.counter_sum(other) AS counted_other,
           queuestats.counter_sum(new) FILTER (WHERE NOT is_recount) AS kept_new,
           queuestats.counter_sum(proc) FILTER (WHERE NOT is_recount) AS kept_proc,
           queuestats.counter_sum(retry) FILTER (WHERE NOT is_recount) AS kept_retry,
           queuestats.counter_sum(hold) FILTER (WHERE NOT is_recount) AS kept_hold,
           0::bigint AS kept_other
    FROM (
      SELECT *, true AS is_recount FROM queuestats.recount(of_sender)
      UNION ALL
      SELECT *, 0, false FROM queuestats.deltas_by_grouping_set(of_sender, is_from_watermark => true)
      UNION ALL
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold, 0, false
      FROM queuestats.counters
      WHERE (of_sender IS NULL OR sender_id = of_sender) AND epoch = 0
      UNION ALL
      -- If a watermark names epoch 0, readers count this epoch twice, and so does this branch: see read.sql.
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold, 0, false
      FROM queuestats.counters JOIN queuestats.watermarks USING (sender_id, epoch)
      WHERE of_sender IS NULL OR sender_id = of_sender
    ) AS part
    GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  ) AS compared
  WHERE (counted_new, counted_proc, counted_retry, counted_hold, counted_other)
    <> (kept_new, kept_proc, kept_retry, kept_hold, kept_other)
  UNION ALL
  SELECT sender_id, grouping_set, account_id, campaign_id, isp, 0, 0, 0, 0, 0, new, proc, retry, hold, 0
  FROM queuestats.unread_counts(of_sender)
  WHERE new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0
  UNION ALL
  -- sender_totals, by which the largest senders are found, repeats these counters.
  SELECT sender_id, 'total', 0, 0, '', counter.new, counter.proc, counter.retry, counter.hold, 0,
         ranked.new, ranked.proc, ranked.retry, ranked.hold, 0
  FROM (
    SELECT sender_id, new, proc, retry, hold FROM queuestats.counters
    WHERE grouping_set = 'total' AND epoch = 0 AND (of_sender IS NULL OR sender_id = of_sender)
  ) AS counter
    FULL JOIN (
      SELECT sender_id, new, proc, retry, hold FROM queuestats.sender_totals
      WHERE of_sender IS NULL OR sender_id = of_sender
    ) AS ranked USING (sender_id)
  WHERE (coalesce(counter.new, 0), coalesce(counter.proc, 0), coalesce(counter.retry, 0), coalesce(counter.hold, 0))
    <> (coalesce(ranked.new, 0), coalesce(ranked.proc, 0), coalesce(ranked.retry, 0), coalesce(ranked.hold, 0))
  ORDER BY sender_id, grouping_set, account_id, campaign_id, isp;
END
$$;

CREATE FUNCTION queuestats.away(of_sender bigint) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT CAST(NULL AS text) $$;

CREATE FUNCTION queuestats.begin_bounds() RETURNS void
    LANGUAGE sql
    AS $$
  INSERT INTO queuestats.bounds (sender_id, number, new, proc, retry, hold)
  VALUES (0, 0, '-infinity', '-infinity', '-infinity', '-infinity')
  ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION queuestats.begin_history(of_sender bigint) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  INSERT INTO queuestats.history_begins (sender_id, at)
  VALUES (of_sender, queuestats.history_clock()) ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION queuestats.begin_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text, at_most bigint, of_hold bigint, by_senders bigint[], by_accounts bigint[], most_holds bigint, most_jobs bigint) RETURNS TABLE(job_id bigint, hold_id bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  job queuestats.jobs;
  ended bigint[] := '{}';
  left_holds bigint[] := '{}';
  counted bigint;
BEGIN
  PERFORM queuestats.require_here(of_sender);
  PERFORM queuestats.require_possible(of_action, ARRAY[of_sender, of_account, of_campaign]);
  PERFORM queuestats.require_share(of_action, by_kind, by_name, most_holds, most_jobs);
  IF of_action = 'hold' THEN
    INSERT INTO queuestats.holds (
      sender_id, account_id, campaign_id, isp, reason, created_by_kind, created_by, expires_at, sender_limits,
      account_limits
    ) VALUES (
      of_sender, of_account, of_campaign, of_isp, of_reason, by_kind, by_name, now() + expires_in, by_senders,
      by_accounts
    ) RETURNING id INTO of_hold;
  ELSIF of_action = 'release' THEN
    IF of_hold IS NOT NULL THEN
      SELECT account_id, campaign_id, isp INTO of_account, of_campaign, of_isp FROM queuestats.holds WHERE id = of_hold;
    END IF;
    SELECT * INTO ended, left_holds
    FROM queuestats.divide_holds(of_sender, of_account, of_campaign, of_isp, of_hold, by_senders, by_accounts);
    IF of_hold IS NOT NULL AND ended || left_holds = '{}' THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS400', MESSAGE = 'hold_id must be the id of an active hold of this sender';
    ELSIF of_hold IS NOT NULL AND ended = '{}' THEN
      RAISE EXCEPTION USING ERRCODE = 'QS403', MESSAGE = 'the maker of the hold is less limited than this token';
    END IF;
  END IF;
  -- Another release, or the expiry, may have ended some of them first.
  WITH deleted AS (
    DELETE FROM queuestats.holds WHERE id = ANY (ended) RETURNING id
  )
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO ended FROM deleted;
  INSERT INTO queuestats.jobs (
    action, sender_id, account_id, campaign_id, isp, hold_id, ended_holds, left_holds, sender_limits, account_limits,
    requested_by_kind, requested_by, request_id
  ) VALUES (
    of_action, of_sender, of_account, of_campaign, of_isp, of_hold, ended, cardinality(left_holds), by_senders,
    by_accounts, by_kind, by_name, of_request
  ) RETURNING * INTO job;
  job.left_messages := queuestats.count_left(job, left_holds);
  IF at_most IS NOT NULL THEN
    counted := queuestats.count_for(job);
    IF counted <= at_most AND counted <= 100000 OR counted IS NULL THEN
      job.matched := 0;
      counted := queuestats.collect_job(job);
      IF job.action = 'release' AND counted > at_most THEN
        counted := queuestats.count_collected(job);
      END IF;
      job.state := 'working';
      job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
    END IF;
    IF counted > at_most THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS412', MESSAGE = format('%s messages match, more than at_most %s', counted, at_most);
    END IF;
    -- A purge that collects its messages later removes at most this number, because other messages may arrive before.
    job.matched := CASE WHEN job.state = 'working' OR job.action = 'purge' THEN counted ELSE 0 END;
  END IF;
  UPDATE queuestats.jobs SET
    state = job.state, matched = job.matched, settles_at = job.settles_at, left_messages = job.left_messages
  WHERE id = job.id;
  PERFORM queuestats.log_job(job, of_action, of_reason);
  RETURN QUERY SELECT job.id, of_hold;
END
$$;

CREATE FUNCTION queuestats.bound_differences(of_sender bigint) RETURNS TABLE(sender_id bigint, status public.message_status, missed bigint)
    LANGUAGE plpgsql STABLE
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
BEGIN
  IF NOT true THEN
    RETURN;
  END IF;
  RETURN QUERY
  SELECT message.sender_id, message.status, (
    SELECT count(*) FROM queuestats.queued_messages
    WHERE sender_id = message.sender_id AND status = message.status AND created_at < since
  )
  FROM (
    SELECT sender_id, status, min(created_at) AS oldest FROM queuestats.queued_messages
    WHERE (of_sender IS NULL OR sender_id = of_sender) AND status IN ('new', 'proc', 'retry', 'hold')
    GROUP BY sender_id, status
  ) AS message
    CROSS JOIN LATERAL (
      SELECT least(
               CASE message.status WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry ELSE hold END,
               (SELECT min(oldest) FROM queuestats.pending_deltas(message.sender_id, NULL, NULL, NULL)
                WHERE CASE message.status
                        WHEN 'new' THEN new > 0 OR came & 1 <> 0 WHEN 'proc' THEN proc > 0 OR came & 2 <> 0
                        WHEN 'retry' THEN retry > 0 OR came & 4 <> 0 ELSE hold > 0 OR came & 8 <> 0
                      END)
             ) AS since
      FROM queuestats.bound_of(message.sender_id)
    ) AS bound
  WHERE message.oldest < since;
END
$$;

CREATE FUNCTION queuestats.bound_of(of_sender bigint) RETURNS TABLE(number bigint, new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone, hold timestamp with time zone)
    LANGUAGE sql STABLE ROWS 1
    AS $$
  SELECT coalesce(own.number, 0), coalesce(own.new, others.new, '-infinity'),
         coalesce(own.proc, others.proc, '-infinity'), coalesce(own.retry, others.retry, '-infinity'),
         coalesce(own.hold, others.hold, '-infinity')
  FROM (VALUES (0)) AS one
    LEFT JOIN LATERAL (
      SELECT * FROM queuestats.bounds WHERE sender_id = of_sender ORDER BY sender_id DESC, number DESC LIMIT 1
    ) AS own ON true
    LEFT JOIN queuestats.bounds AS others ON others.sender_id = 0
$$;

CREATE FUNCTION queuestats.came_empty(of_partition oid, is_grown boolean) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT relkind = 'p' OR relfilenode = oid AND (
      is_grown AND queuestats.were_triggers_kept(oid)
      OR reltuples < 0 AND coalesce(pg_relation_size(oid), 1) = 0
    )
  FROM pg_class WHERE oid = of_partition
$$;

CREATE FUNCTION queuestats.cancel_job(of_job bigint, by_name text, by_kind text DEFAULT 'token'::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job queuestats.jobs;
BEGIN
  PERFORM queuestats.require_here(sender_id) FROM queuestats.jobs WHERE id = of_job AND finished_at IS NULL;
  UPDATE queuestats.jobs SET state = 'cancelled', finished_at = now()
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM queuestats.job_chunks WHERE job_id = of_job;
  -- The actor of this entry is the one that cancels.
  SELECT by_kind, by_name, '' INTO job.requested_by_kind, job.requested_by, job.request_id;
  PERFORM queuestats.log_job(job, 'cancel');
  RETURN true;
END
$$;

CREATE FUNCTION queuestats.catalog_objects() RETURNS TABLE(kind text, name text, definition text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET quote_all_identifiers TO 'off'
    AS $$
  SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname::text,
         CASE relkind WHEN 'v' THEN md5(pg_get_viewdef(oid)) ELSE '' END
  FROM pg_class WHERE relnamespace = 'queuestats'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
  UNION ALL
  SELECT 'column', format('%s.%s', relname, attname), format_type(atttypid, atttypmod)
  FROM pg_class INNER JOIN pg_attribute ON attrelid = pg_class.oid
  WHERE relnamespace = 'queuestats'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT 'index', pg_class.relname::text, pg_get_indexdef(pg_class.oid)
  FROM pg_class INNER JOIN pg_index ON indexrelid = pg_class.oid
    INNER JOIN pg_class AS indexed ON indexed.oid = indrelid
  WHERE indexed.relnamespace = 'queuestats'::regnamespace AND NOT indexed.relispartition
    OR indexed.oid = queuestats.messages_table()
      AND pg_class.relname IN ('messages_pkey', 'messages_by_arrival')
  UNION ALL
  SELECT 'function', pg_proc.oid::regprocedure::text,
         md5(format('%s %s %s %s', prosrc, prosecdef, proconfig, pg_get_function_result(pg_proc.oid)))
  FROM pg_proc WHERE pronamespace = 'queuestats'::regnamespace
$$;

CREATE TABLE queuestats.job_chunks (
    job_id bigint NOT NULL,
    number bigint NOT NULL,
    ids bigint[] NOT NULL,
    addresses tid[] NOT NULL
);
ALTER TABLE ONLY queuestats.job_chunks ALTER COLUMN ids SET STORAGE EXTERNAL;
ALTER TABLE ONLY queuestats.job_chunks ALTER COLUMN addresses SET STORAGE EXTERNAL;

CREATE TABLE queuestats.jobs (
    id bigint NOT NULL,
    action text NOT NULL,
    sender_id bigint NOT NULL,
    account_id bigint,
    campaign_id bigint,
    isp text COLLATE pg_catalog."C",
    hold_id bigint,
    requested_by text NOT NULL,
    request_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    matched bigint DEFAULT 0 NOT NULL,
    changed bigint DEFAULT 0 NOT NULL,
    settles_at xid8,
    finished_at timestamp with time zone,
    requested_by_kind text DEFAULT 'token'::text NOT NULL,
    ended_holds bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    sender_limits bigint[],
    account_limits bigint[],
    left_holds bigint DEFAULT 0 NOT NULL,
    left_messages bigint DEFAULT 0 NOT NULL,
    run_at timestamp with time zone DEFAULT now() NOT NULL,
    stepped_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    failed bigint DEFAULT 0 NOT NULL,
    waits_for text,
    waits_since timestamp with time zone,
    blockers text[],
    written_by xid8 DEFAULT pg_current_xact_id(),
    CONSTRAINT jobs_action CHECK ((action = ANY (ARRAY['hold'::text, 'release'::text, 'purge'::text]))),
    CONSTRAINT jobs_state CHECK ((state = ANY (ARRAY['waiting'::text, 'working'::text, 'settling'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);

CREATE FUNCTION queuestats.change_chunk(job queuestats.jobs, chunk queuestats.job_chunks, is_by_message boolean, OUT changed bigint, OUT has_left_some boolean, OUT failed bigint, OUT error text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET row_security TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
  most_by_message CONSTANT integer := 100;
  next_number bigint := (SELECT max(number) + 1 FROM queuestats.job_chunks WHERE job_id = job.id);
  done bigint[] := '{}';
  part record;
  n integer;
BEGIN
  changed := 0;
  failed := 0;
  has_left_some := false;
  -- The hold was released or has expired while its job was running. The release waits for this transaction and then
  -- collects again, so it finds messages that are held after this check.
  IF job.action = 'hold' AND NOT EXISTS (SELECT FROM queuestats.holds WHERE id = job.hold_id) THEN
    RETURN;
  END IF;
  FOR n IN 1..CASE WHEN is_by_message THEN cardinality(chunk.ids) ELSE 1 END LOOP
    BEGIN
      part := queuestats.change_messages(
        job,
        CASE WHEN is_by_message THEN chunk.ids[n:n] ELSE chunk.ids END,
        CASE WHEN is_by_message THEN chunk.addresses[n:n] ELSE chunk.addresses END
      );
      changed := changed + part.changed;
      done := done || part.free_ids;
    EXCEPTION
      WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR system_error
        OR lock_not_available THEN
        RAISE;
      WHEN OTHERS THEN
        error := coalesce(error, SQLERRM);
        IF NOT is_by_message THEN
          EXIT;
        END IF;
        failed := failed + 1;
        done := done || chunk.ids[n];
    END;
  END LOOP;
  IF error IS NOT NULL AND NOT is_by_message THEN
    IF cardinality(chunk.ids) > most_by_message THEN
      INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
      SELECT
        job.id, next_number + number, array_agg(id), array_remove(array_agg(address), NULL)
      FROM (
        SELECT id, address, (ordinality - 1) / most_by_message AS number
        FROM unnest(chunk.ids, chunk.addresses) WITH ORDINALITY AS message (id, address, ordinality)
      ) AS message
      GROUP BY number;
      error := NULL;
    ELSE
      SELECT * INTO changed, has_left_some, failed, error FROM queuestats.change_chunk(job, chunk, true);
    END IF;
    RETURN;
  END IF;

  -- After all other chunks, which gives the transaction that has the locks time to end.
  IF cardinality(done) < cardinality(chunk.ids) THEN
    INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
    SELECT job.id, next_number, array_agg(message.id), array_agg(message.address)
    FROM queuestats.queued_messages AS message
      LEFT JOIN queuestats.held_messages AS held
        ON job.action <> 'hold' AND held.sender_id = message.sender_id AND held.id = message.id
      LEFT JOIN queuestats.holds AS hold ON hold.id = held.hold_id
    WHERE message.id = ANY (ARRAY(SELECT unnest(chunk.ids) EXCEPT SELECT unnest(done))) AND queuestats.is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
        hold
      )
    HAVING count(*) > 0;
    has_left_some := FOUND;
  END IF;
END
$$;

CREATE FUNCTION queuestats.change_messages(job queuestats.jobs, of_ids bigint[], of_addresses tid[], OUT changed bigint, OUT free_ids bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_nestloop TO 'off'
    SET enable_mergejoin TO 'off'
    SET "DateStyle" TO 'ISO'
    SET "IntervalStyle" TO 'postgres'
    SET extra_float_digits TO '1'
    SET row_security TO 'off'
    AS $$
#variable_conflict use_column
<<own>>
DECLARE
  free_addresses tid[];
  -- The former or the new content of held_messages for these messages. For a release, hold_id is another hold that
  -- matches.
  free queuestats.held_messages[];
  released_ids bigint[];
  released_values text[];
BEGIN
  IF of_addresses = '{}' THEN
    of_addresses := ARRAY(
      SELECT message.address FROM unnest(of_ids) AS wanted (id)
        CROSS JOIN LATERAL (SELECT * FROM queuestats.queued_messages AS known WHERE known.id = wanted.id OFFSET 0) AS message
    );
  END IF;
  SELECT array_agg(id), array_agg(address),
         array_agg(CAST((sender_id, id, former, stored, hold_id) AS queuestats.held_messages))
  INTO free_ids, free_addresses, free FROM (
    SELECT
      message.sender_id, message.id, message.address,
      CASE job.action WHEN 'hold' THEN message.status ELSE held.former_status END AS former,
      CASE job.action
        WHEN 'hold' THEN CAST(ARRAY[CAST(message.stored_status AS text)] AS text) ELSE held.stored_status
      END AS stored,
      CASE job.action WHEN 'hold' THEN job.hold_id WHEN 'release' THEN (
        SELECT id
        FROM queuestats.holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
        ORDER BY created_at, id LIMIT 1
      ) END AS hold_id
    FROM queuestats.queued_messages AS message
      LEFT JOIN (
        SELECT held.* FROM unnest(of_ids) AS wanted (id)
          CROSS JOIN LATERAL (
            SELECT * FROM queuestats.held_messages AS known
            WHERE known.sender_id = job.sender_id AND known.id = wanted.id OFFSET 0
          ) AS held
        WHERE job.action <> 'hold'
      ) AS held ON held.id = message.id
      LEFT JOIN queuestats.holds AS hold ON hold.id = held.hold_id
    WHERE message.address = ANY (of_addresses) AND message.id IN (SELECT unnest(of_ids)) AND queuestats.is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
        hold
      )
    FOR UPDATE OF message SKIP LOCKED
  ) AS free;

  IF job.action = 'hold' THEN
    -- Rows of a former hold, whose messages were released while no trigger was active.
    DELETE FROM queuestats.held_messages AS held WHERE held.ctid = ANY (ARRAY(
      SELECT former.ctid FROM unnest(free_ids) AS wanted (id)
        CROSS JOIN LATERAL (
          SELECT ctid FROM queuestats.held_messages AS known
          WHERE known.sender_id = job.sender_id AND known.id = wanted.id OFFSET 0
        ) AS former
    ));
    INSERT INTO queuestats.held_messages SELECT * FROM unnest(free);
    UPDATE public.messages AS queuestats_row SET
      status = CAST(queuestats.stored_status('hold') AS public.message_status)
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND id IN (SELECT unnest(change_messages.free_ids)) AND sender_id = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- If another hold matches a message, that hold now holds it. A message that the platform put on hold stays on hold
    -- if another hold matches or if the hold has expired; otherwise it becomes new.
    INSERT INTO queuestats.held_messages
    SELECT * FROM unnest(free) WHERE hold_id IS NOT NULL AND former_status IS NOT NULL
    ON CONFLICT (sender_id, id) DO UPDATE SET hold_id = excluded.hold_id;
    SELECT array_agg(id), array_agg(
        CASE
          WHEN stored_status IS NOT NULL THEN (CAST(stored_status AS text[]))[1]
          ELSE CAST(queuestats.stored_status(coalesce(former_status, 'new')) AS text)
        END
      )
    INTO released_ids, released_values
    FROM unnest(free)
    WHERE hold_id IS NULL AND (former_status IS NOT NULL OR job.requested_by_kind <> 'expiry');
    -- The trigger deletes their rows in held_messages.
    UPDATE public.messages AS queuestats_row SET status = CAST(released.queuestats_value AS public.message_status)
    FROM unnest(own.released_ids, own.released_values)
      AS released (queuestats_id, queuestats_value)
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND id = released.queuestats_id AND sender_id = job.sender_id;
  ELSE
    DELETE FROM public.messages AS queuestats_row
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND id IN (SELECT unnest(change_messages.free_ids)) AND sender_id = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;
  SET CONSTRAINTS ALL IMMEDIATE;
END
$$;

CREATE TABLE queuestats.history_changes (
    step integer NOT NULL,
    until timestamp with time zone NOT NULL,
    sender_id bigint NOT NULL,
    isp text NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL,
    new bigint NOT NULL,
    proc bigint NOT NULL,
    retry bigint NOT NULL,
    hold bigint NOT NULL,
    arrived bigint NOT NULL,
    sender_arrived bigint NOT NULL,
    left_at timestamp with time zone,
    sender_left_at timestamp with time zone
);

ALTER TABLE ONLY queuestats.history_changes REPLICA IDENTITY FULL;

CREATE FUNCTION queuestats.changes_not_rolled_up(of_sender bigint, of_step integer) RETURNS SETOF queuestats.history_changes
    LANGUAGE sql STABLE
    AS $$
  SELECT found.*
  FROM queuestats.history_steps AS rolled
    CROSS JOIN LATERAL generate_series(
      rolled_until, queuestats.latest_change() + queuestats.seconds(step), queuestats.seconds(step)
    ) AS due (until)
    CROSS JOIN LATERAL (
      SELECT * FROM queuestats.history_changes AS change
      WHERE change.step = rolled.step AND change.until = due.until AND change.sender_id = of_sender
      OFFSET 0
    ) AS found
  WHERE rolled.step <= of_step
$$;

CREATE FUNCTION queuestats.changing_senders(of_grouping_set queuestats.grouping_set) RETURNS TABLE(sender_id bigint)
    LANGUAGE sql STABLE
    AS $$
  WITH horizon AS MATERIALIZED (
    SELECT coalesce(max(watermark), '0') AS watermark, coalesce(max(running), '{}') AS running
    FROM queuestats.trusted_watermarks WHERE sender_id = 0
  )
  SELECT sender_id FROM queuestats.deltas
  WHERE xid >= (SELECT watermark FROM horizon) AND xid >= '0'
    AND (new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0)
  UNION
  SELECT late.sender_id
  FROM unnest((SELECT running FROM horizon)) AS running (id)
    CROSS JOIN LATERAL (
      SELECT sender_id FROM queuestats.deltas
      WHERE xid = running.id AND xid >= '0' AND (new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0)
      OFFSET 0
    ) AS late
  UNION
  SELECT hot.sender_id
  FROM queuestats.watermarks AS hot
  WHERE EXISTS (
    SELECT FROM queuestats.counters AS counter
    WHERE counter.sender_id = hot.sender_id
      AND counter.grouping_set = of_grouping_set AND counter.epoch = hot.epoch AND counter.account_id >= 0
  )
$$;

CREATE FUNCTION queuestats.clear_counts() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
  own queuestats.deltas[] := ARRAY(
    SELECT deltas FROM queuestats.deltas WHERE xid = pg_current_xact_id()
  );
  own_held queuestats.held_messages[] := ARRAY(
    SELECT held FROM queuestats.held_messages AS held
    WHERE EXISTS (SELECT FROM queuestats.queued_messages AS message WHERE message.id = held.id AND message.sender_id = held.sender_id)
  );
BEGIN
  DELETE FROM queuestats.fold_lock;
  TRUNCATE queuestats.counters, queuestats.sender_totals, queuestats.deltas, queuestats.held_messages;
  INSERT INTO queuestats.deltas SELECT * FROM unnest(own);
  INSERT INTO queuestats.held_messages SELECT * FROM unnest(own_held);
  RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
  RAISE lock_not_available USING
    MESSAGE = 'messages can''t be truncated while another transaction holds a lock on the counters',
    HINT = 'End that transaction, or run TRUNCATE in READ COMMITTED.';
END
$$;

CREATE FUNCTION queuestats.collect_job(job queuestats.jobs) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET work_mem TO '64MB'
    SET row_security TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  first_number CONSTANT bigint := coalesce(
    (SELECT max(number) + 1 FROM queuestats.job_chunks WHERE job_id = job.id), 0
  );
  of_ended_holds bigint := 0;
  matched bigint := 0;
BEGIN
  IF job.action = 'release' THEN
    WITH matching AS (
      SELECT id, (row_number() OVER () - 1) / chunk_rows AS number
      FROM queuestats.held_messages WHERE sender_id = job.sender_id AND hold_id = ANY (job.ended_holds)
    ), written AS (
      INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
      SELECT job.id, first_number + number, array_agg(id), '{}' FROM matching GROUP BY number
      RETURNING number, cardinality(ids) AS messages
    )
    SELECT coalesce(sum(messages), 0) INTO of_ended_holds FROM written;
  END IF;
  IF job.action <> 'release' OR job.hold_id IS NULL THEN
    WITH matching AS (
      SELECT message.id, message.address, (row_number() OVER () - 1) / chunk_rows AS number
      FROM queuestats.queued_messages AS message
        LEFT JOIN queuestats.held_messages AS held
          ON job.action <> 'hold' AND held.sender_id = message.sender_id AND held.id = message.id
        LEFT JOIN queuestats.holds AS hold ON hold.id = held.hold_id
      WHERE queuestats.is_for(
          job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
          hold
        )
        AND (job.action <> 'release' OR (held.hold_id = ANY (job.ended_holds)) IS NOT TRUE)
      LIMIT CASE WHEN job.action = 'purge' THEN nullif(job.matched, 0) END
    ), written AS (
      INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
      SELECT job.id, first_number + of_ended_holds + number, array_agg(id), array_agg(address)
      FROM matching GROUP BY number
      RETURNING cardinality(ids) AS messages
    )
    SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  END IF;
  RETURN of_ended_holds + matched;
END
$$;

CREATE FUNCTION queuestats.column_versions() RETURNS SETOF bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT CAST(NULL AS bigint) WHERE false $$;

CREATE FUNCTION queuestats.compact(max_counters integer DEFAULT 40000, compact_after interval DEFAULT '00:00:10'::interval) RETURNS TABLE(compacted integer, is_more boolean)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET work_mem TO '16MB'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
  moving tid[];
  finished bigint[];
BEGIN
  IF NOT queuestats.take_fold_lock(is_waiting => false) THEN
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
      FROM queuestats.watermarks CROSS JOIN LATERAL (
        SELECT ctid AS id FROM queuestats.counters
        WHERE counters.sender_id = watermarks.sender_id AND counters.epoch = watermarks.epoch
          AND counters.grouping_set = ANY (enum_range(NULL::queuestats.grouping_set)) AND counters.account_id >= 0
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
    DELETE FROM queuestats.counters WHERE ctid = ANY (moving) RETURNING *
  ), begun AS (
    UPDATE queuestats.watermarks AS known
    SET epoch = known.epoch + 1, compacted_at = now(),
        watermark = trusted.watermark, running = trusted.running, written_by = pg_current_xact_id()
    FROM queuestats.trusted_watermarks AS trusted
    WHERE known.sender_id = ANY (finished) AND trusted.sender_id = known.sender_id
  ), ranked AS (
    INSERT INTO queuestats.sender_totals AS kept (sender_id, new, proc, retry, hold)
    SELECT sender_id, new, proc, retry, hold FROM moved WHERE grouping_set = 'total'
    ON CONFLICT (sender_id) DO UPDATE SET
      new = kept.new + excluded.new, proc = kept.proc + excluded.proc,
      retry = kept.retry + excluded.retry, hold = kept.hold + excluded.hold
  )
  MERGE INTO queuestats.counters AS kept
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

CREATE FUNCTION queuestats.count_collected(job queuestats.jobs) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET jit TO 'off'
    AS $$
BEGIN
  RETURN (
    SELECT count(*)
    FROM queuestats.messages_of(ARRAY[job.sender_id]) AS message
    WHERE message.id IN (SELECT unnest(ids) FROM queuestats.job_chunks WHERE job_id = job.id)
      AND NOT EXISTS (
        SELECT FROM queuestats.holds_of(job.sender_id, message.account_id, message.campaign_id, message.isp)
      )
  );
END
$$;

CREATE FUNCTION queuestats.count_for(job queuestats.jobs) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
BEGIN
  IF job.action = 'release' THEN
    RETURN queuestats.count_releasable(
      job.sender_id, job.account_id, job.campaign_id, job.isp, job.hold_id, job.ended_holds
    );
  ELSIF NOT queuestats.is_proven() THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT coalesce(sum(CASE job.action WHEN 'hold' THEN new + retry ELSE new + proc + retry + hold END), 0)
    FROM (
      SELECT new, proc, retry, hold
      FROM queuestats.current_counters(
          job.sender_id,
          queuestats.grouping_set_of(job.account_id IS NOT NULL, job.campaign_id IS NOT NULL, job.isp IS NOT NULL)
        )
      WHERE account_id >= 0 AND account_id = coalesce(job.account_id, 0)
        AND campaign_id = coalesce(job.campaign_id, 0) AND isp = coalesce(job.isp, '')
      UNION ALL
      SELECT new, proc, retry, hold
      FROM queuestats.pending_deltas(job.sender_id, job.account_id, job.campaign_id, job.isp)
    ) AS part
  ) - job.left_messages;
END
$$;

CREATE FUNCTION queuestats.count_left(job queuestats.jobs, left_holds bigint[]) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
BEGIN
  IF job.action = 'release' THEN
    RETURN (
      SELECT count(*) FROM queuestats.held_messages
      WHERE sender_id = job.sender_id AND hold_id = ANY (count_left.left_holds)
    );
  ELSIF job.action <> 'purge' OR coalesce(job.sender_limits, job.account_limits) IS NULL THEN
    RETURN 0;
  END IF;
  RETURN (
    SELECT count(*) FROM queuestats.messages_of(ARRAY[job.sender_id]) AS message
      INNER JOIN queuestats.held_messages AS held USING (sender_id, id)
      INNER JOIN queuestats.holds AS hold ON hold.id = held.hold_id
    WHERE message.status = 'hold' AND (job.account_id IS NULL OR message.account_id = job.account_id)
      AND (job.campaign_id IS NULL OR message.campaign_id = job.campaign_id)
      AND (job.isp IS NULL OR message.isp = job.isp)
      AND NOT queuestats.may_end(hold, job.sender_limits, job.account_limits)
  );
END
$$;

CREATE FUNCTION queuestats.count_releasable(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, ended bigint[]) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET jit TO 'off'
    AS $$
BEGIN
  RETURN (
    SELECT count(*)
    FROM queuestats.messages_of(ARRAY[of_sender]) AS message
      LEFT JOIN queuestats.held_messages AS held ON held.sender_id = of_sender AND held.id = message.id
    WHERE message.status = 'hold'
      AND (
        held.hold_id = ANY (ended)
        OR of_hold IS NULL
        AND (of_account IS NULL OR message.account_id = of_account)
        AND (of_campaign IS NULL OR message.campaign_id = of_campaign)
        AND (of_isp IS NULL OR message.isp = of_isp)
        AND NOT EXISTS (SELECT FROM queuestats.holds WHERE id = held.hold_id)
      )
      AND NOT EXISTS (
        SELECT FROM queuestats.holds_of(of_sender, message.account_id, message.campaign_id, message.isp) AS other
        WHERE other.id <> ALL (ended)
      )
  );
END
$$;

CREATE FUNCTION queuestats.counted() RETURNS TABLE(are_readable boolean)
    LANGUAGE sql STABLE
    AS $$
  SELECT holds AND NOT pg_catalog.pg_is_in_recovery() OR queuestats.require_counted() FROM queuestats.proof()
$$;

CREATE FUNCTION queuestats.counting_triggers() RETURNS TABLE(relation oid, function name, is_on boolean, is_always boolean, version bigint)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT tgrelid, called.proname, tgenabled IN ('O', 'A'), tgenabled = 'A',
         hash_record_extended(ROW(trigger.oid, trigger.xmin), 0)
  FROM pg_trigger AS trigger INNER JOIN pg_proc AS called ON called.oid = trigger.tgfoid
  WHERE tgrelid = ANY (ARRAY(
      SELECT queuestats.messages_table()::oid UNION ALL SELECT partition FROM queuestats.partition_versions()
    ))
    AND called.pronamespace = 'queuestats'::regnamespace
    AND called.proname IN ('record_insert', 'record_update', 'record_delete', 'record_truncate', 'record_row')
$$;

CREATE FUNCTION queuestats.cover_history() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  now CONSTANT timestamp with time zone := queuestats.history_clock();
  span queuestats.history_spans;
  rolled timestamp with time zone;
BEGIN
  SELECT * INTO span FROM queuestats.history_spans ORDER BY since DESC LIMIT 1;
  IF span.until IS NULL OR span.until < now - interval '5 seconds' THEN
    INSERT INTO queuestats.history_spans (since, until) VALUES (now, now);
  ELSIF span.until < now - interval '1 second' THEN
    UPDATE queuestats.history_spans SET until = now WHERE since = span.since;
  END IF;
  SELECT rolled_until INTO rolled FROM queuestats.history_steps WHERE step = 60;
  IF NOT FOUND THEN
    INSERT INTO queuestats.history_steps (step, rolled_until, rolled_sender)
    SELECT step, queuestats.start_of(queuestats.seconds(step), now), 0 FROM (VALUES (60), (600), (3600)) AS all_ (step);
  END IF;
  RETURN interval '1 minute' + greatest(queuestats.start_of(interval '1 minute', now), rolled);
END
$$;

CREATE FUNCTION queuestats.create_or_replace(file text, in_schema text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
  hint text;
  dropped record;
  rights text[] := '{}';
  granting text;
BEGIN
  LOOP
    BEGIN
      EXECUTE file;
      EXIT;
    EXCEPTION WHEN invalid_function_definition OR invalid_table_definition THEN
      -- The hint names a function: "Use DROP FUNCTION name(types) first." No hint names a view.
      GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
      FOR dropped IN
        WITH RECURSIVE made (class, object, kind, name, owner, rights) AS (
          SELECT 'pg_proc'::regclass::oid, oid, 'ROUTINE', oid::regprocedure::text, proowner, ARRAY(
            SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', oid::regprocedure, grantee::regrole)
            FROM aclexplode(proacl) WHERE grantee NOT IN (0, proowner)
          )
          FROM pg_proc
          WHERE pronamespace = to_regnamespace(in_schema) AND strpos(file, format(' %s.%I(', in_schema, proname)) > 0
          UNION ALL
          SELECT 'pg_class'::regclass, oid, 'VIEW', oid::regclass::text, relowner, ARRAY(
            SELECT format('GRANT %s %s ON %s TO %s', privilege_type, in_column, oid::regclass,
                          CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
            FROM (
              SELECT relacl, ''
              UNION ALL
              SELECT attacl, format('(%I)', attname) FROM pg_attribute WHERE attrelid = pg_class.oid
            ) AS given (acl, in_column) CROSS JOIN aclexplode(acl)
            WHERE grantee <> relowner
          )
          FROM pg_class
          WHERE relnamespace = to_regnamespace(in_schema) AND relkind = 'v'
            AND strpos(file, format('VIEW %s.%I AS', in_schema, relname)) > 0
        ),

        dependent (class, object, depth) AS (
          SELECT class, object, 0 FROM made
          WHERE CASE kind WHEN 'VIEW' THEN SQLSTATE = '42P16' ELSE strpos(hint, ' ' || name) > 0 END
          UNION
          -- A view depends on the same objects as its rule.
          SELECT CASE WHEN rule.oid IS NULL THEN classid ELSE 'pg_class'::regclass END, coalesce(ev_class, objid),
                 depth + 1
          FROM dependent INNER JOIN pg_depend ON refclassid = class AND refobjid = object
            LEFT JOIN pg_rewrite AS rule ON classid = 'pg_rewrite'::regclass AND rule.oid = objid
          WHERE ev_class IS DISTINCT FROM object
        )

        SELECT kind, name, made.rights, max(depth) FROM made INNER JOIN dependent USING (class, object)
        GROUP BY 1, 2, 3 ORDER BY 4 DESC
      LOOP
        EXECUTE format('DROP %s %s', dropped.kind, dropped.name);
        rights := rights || dropped.rights;
      END LOOP;
      IF NOT FOUND THEN
        RAISE;
      END IF;
    END;
  END LOOP;
  FOREACH granting IN ARRAY rights LOOP
    BEGIN
      EXECUTE granting;
    EXCEPTION WHEN undefined_column THEN
      CONTINUE;
    END;
  END LOOP;
END
$$;

CREATE TABLE queuestats.counters (
    sender_id bigint NOT NULL,
    grouping_set queuestats.grouping_set NOT NULL,
    epoch bigint NOT NULL,
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    isp text NOT NULL COLLATE pg_catalog."C",
    new bigint NOT NULL,
    proc bigint NOT NULL,
    retry bigint NOT NULL,
    hold bigint NOT NULL
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

ALTER TABLE ONLY queuestats.counters REPLICA IDENTITY FULL;

CREATE FUNCTION queuestats.current_counters(of_sender bigint, of_grouping_set queuestats.grouping_set) RETURNS SETOF queuestats.counters
    LANGUAGE sql STABLE
    AS $$
  SELECT * FROM queuestats.counters
  WHERE sender_id = of_sender AND grouping_set = of_grouping_set AND epoch = 0
  UNION ALL
  SELECT * FROM queuestats.counters
  WHERE sender_id = of_sender AND grouping_set = of_grouping_set
    AND epoch = (SELECT epoch FROM queuestats.watermarks WHERE sender_id = of_sender)
$$;

CREATE FUNCTION queuestats.deltas_by_grouping_set(of_sender bigint, is_from_watermark boolean) RETURNS TABLE(sender_id bigint, grouping_set queuestats.grouping_set, account_id bigint, campaign_id bigint, isp text, new bigint, proc bigint, retry bigint, hold bigint)
    LANGUAGE sql STABLE
    AS $$
  SELECT sender_id, queuestats.grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM queuestats.deltas LEFT JOIN queuestats.trusted_watermarks USING (sender_id)
  WHERE (of_sender IS NULL OR sender_id = of_sender)
    AND (NOT is_from_watermark OR watermark IS NULL OR xid >= watermark OR xid = ANY (running))
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;

CREATE FUNCTION queuestats.divide_holds(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, by_senders bigint[], by_accounts bigint[]) RETURNS TABLE(endable bigint[], others bigint[])
    LANGUAGE sql STABLE ROWS 1
    AS $$
  SELECT
    coalesce(array_agg(hold.id) FILTER (WHERE queuestats.may_end(hold, by_senders, by_accounts)), '{}'),
    coalesce(array_agg(hold.id) FILTER (WHERE NOT queuestats.may_end(hold, by_senders, by_accounts)), '{}')
  FROM queuestats.holds AS hold
  WHERE sender_id = of_sender AND CASE
      WHEN of_hold IS NOT NULL THEN id = of_hold
      ELSE (of_account IS NULL OR account_id = of_account)
        AND (of_campaign IS NULL OR campaign_id = of_campaign) AND (of_isp IS NULL OR isp = of_isp)
    END
$$;

CREATE FUNCTION queuestats.drop_history(of_step integer, kept_for interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
  partition name;
BEGIN
  FOR partition IN
    SELECT relname FROM pg_inherits INNER JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'queuestats.history'::regclass AND starts_with(relname, format('history_%s_', of_step))
      AND to_date(right(relname, 8), 'YYYYMMDD') + queuestats.partition_of(of_step)
        < queuestats.history_clock() - kept_for
  LOOP
    EXECUTE format('DROP TABLE queuestats.%I', partition);
    UPDATE queuestats.history_steps
    SET kept_since = greatest(kept_since, to_date(right(partition, 8), 'YYYYMMDD') + queuestats.partition_of(of_step))
    WHERE step = of_step;
  END LOOP;
EXCEPTION WHEN lock_not_available THEN
  NULL;
END
$$;

CREATE FUNCTION queuestats.earliest_bounds(of_status text, after timestamp with time zone, after_sender bigint, at_most bigint) RETURNS TABLE(sender_id bigint, since timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
  (SELECT sender_id, new FROM queuestats.bounds
   WHERE of_status = 'new' AND new < 'infinity' AND (new, sender_id) > (after, after_sender)
   ORDER BY new, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, proc FROM queuestats.bounds
   WHERE of_status = 'proc' AND proc < 'infinity' AND (proc, sender_id) > (after, after_sender)
   ORDER BY proc, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, retry FROM queuestats.bounds
   WHERE of_status = 'retry' AND retry < 'infinity' AND (retry, sender_id) > (after, after_sender)
   ORDER BY retry, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, hold FROM queuestats.bounds
   WHERE of_status = 'hold' AND hold < 'infinity' AND (hold, sender_id) > (after, after_sender)
   ORDER BY hold, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, least(new, proc, retry, hold) FROM queuestats.bounds
   WHERE of_status = 'total' AND least(new, proc, retry, hold) < 'infinity'
     AND (least(new, proc, retry, hold), sender_id) > (after, after_sender)
   ORDER BY least(new, proc, retry, hold), sender_id LIMIT at_most)
$$;

CREATE FUNCTION queuestats.effective_settings(of_role text) RETURNS TABLE(role text, name text, value text, time_limit interval)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "IntervalStyle" TO 'postgres'
    AS $_$
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
    AND of_role <> (SELECT relowner::regrole::text FROM pg_class WHERE oid = 'queuestats.counters'::regclass)
$_$;

CREATE FUNCTION queuestats.expire_holds() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  count integer;
BEGIN
  WITH expired AS (
    DELETE FROM queuestats.holds WHERE id IN (
      SELECT id FROM queuestats.holds WHERE expires_at <= now() AND queuestats.away(sender_id) IS NULL
      ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ) RETURNING *
  ), begun AS (
    INSERT INTO queuestats.jobs AS job (
      action, sender_id, account_id, campaign_id, isp, hold_id, ended_holds, requested_by_kind, requested_by, request_id
    )
    SELECT 'release', sender_id, account_id, campaign_id, isp, id, ARRAY[id], 'expiry', 'expiry', '' FROM expired
    RETURNING job, hold_id
  )
  SELECT count(*) INTO count
  FROM expired
    INNER JOIN begun ON begun.hold_id = expired.id
    CROSS JOIN LATERAL queuestats.log_job(begun.job, 'expire', expired.reason);
  RETURN count;
END
$$;

CREATE FUNCTION queuestats.first_of(of_sender bigint, of_status public.message_status, since timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
  IF since = 'infinity' THEN
    RETURN since;
  END IF;
  RETURN coalesce((SELECT created_at FROM queuestats.oldest_message(of_sender, of_status, since)), 'infinity');
END
$$;

CREATE FUNCTION queuestats.fold(max_deltas integer DEFAULT 20000, mark_every double precision DEFAULT 2000) RETURNS TABLE(folded integer, is_more boolean)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET work_mem TO '16MB'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
  max_running CONSTANT integer := 32;
  old_watermark xid8;
  old_running xid8[];
  pending tid[];
  last_taken xid8;
  new_watermark xid8;
  new_running xid8[];
  can_raise boolean := true AND NOT row_security_active('public.messages'::regclass);
  has_bounds boolean;
  minute timestamp with time zone;
BEGIN
  IF can_raise THEN
    BEGIN
      LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      can_raise := false;
    END;
  END IF;
  IF NOT queuestats.take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  has_bounds := EXISTS (SELECT FROM queuestats.bounds WHERE sender_id = 0 AND new = 'infinity');
  -- A fold that is lost in a crash does no harm: its deltas are pending again. So it does not wait for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM queuestats.follow_partitions();
  minute := queuestats.cover_history();

  SELECT coalesce(max(watermark), '0'), coalesce(max(running), '{}') INTO old_watermark, old_running
  FROM queuestats.trusted_watermarks WHERE sender_id = 0;

  -- Only a fold deletes deltas, so these rows are still there for the next statement.
  SELECT array_agg(ctid), count(*), max(xid), pg_snapshot_xmax(pg_current_snapshot()),
         ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot()) UNION SELECT pg_current_xact_id_if_assigned())
  INTO pending, folded, last_taken, new_watermark, new_running
  FROM (
    SELECT seen.* FROM unnest(old_running) AS running (id) CROSS JOIN LATERAL (
      SELECT ctid, xid FROM queuestats.deltas
      WHERE xid = running.id AND xid >= '0' -- always true: the predicate of the fold's own index
      LIMIT max_deltas
    ) AS seen
    UNION ALL
    (SELECT ctid, xid FROM queuestats.deltas
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
    DELETE FROM queuestats.deltas WHERE ctid = ANY (pending) RETURNING *
  ), marked AS (
    INSERT INTO queuestats.watermarks (sender_id, watermark, running, epoch, written_by)
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
      CROSS JOIN LATERAL queuestats.next_bound(
        arrived.sender_id, arrived.oldest, can_raise AND (is_due OR change <= 0 AND (
          SELECT least(new, proc, retry, hold) FROM queuestats.bound_of(arrived.sender_id)
        ) < now() - interval '1 minute' AND 0 = change + (
          SELECT coalesce(queuestats.counter_sum(new + proc + retry + hold), 0)
          FROM queuestats.current_counters(arrived.sender_id, 'total') WHERE account_id >= 0
        ))
      ) AS next
  ), bounded AS (
    INSERT INTO queuestats.bounds (sender_id, number, new, proc, retry, hold)
    SELECT * FROM next_bound WHERE least(new, proc, retry, hold) < 'infinity'
  ), unbounded AS (
    DELETE FROM queuestats.bounds AS former USING next_bound AS next
    WHERE former.sender_id = next.sender_id AND former.number = next.number - 1
  ), by_key AS (
    SELECT sender_id, account_id, campaign_id, isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold,
           queuestats.counter_sum(greatest(new + proc + retry + hold, 0)) AS arrived,
           queuestats.counter_sum(greatest(coalesce(net, new + proc + retry + hold), 0)) AS sender_arrived,
           bool_or(coalesce(net, new + proc + retry + hold) < 0) AS sender_lost,
           coalesce(came, 0) >= 16 AS is_correction
    FROM gone GROUP BY sender_id, account_id, campaign_id, isp, coalesce(came, 0) >= 16
  ), recorded AS (
    INSERT INTO queuestats.history_changes
      (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
    SELECT 60, minute, sender_id, isp, minute, queuestats.counter_sum(new), queuestats.counter_sum(proc),
           queuestats.counter_sum(retry), queuestats.counter_sum(hold),
           queuestats.counter_sum(arrived), queuestats.counter_sum(sender_arrived),
           CASE WHEN bool_or(arrived > new + proc + retry + hold) THEN minute END,
           CASE WHEN bool_or(sender_lost) THEN minute END
    FROM by_key WHERE NOT is_correction GROUP BY sender_id, isp
    HAVING bool_or(new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0 OR arrived <> 0)
  ), by_grouping_set AS (
    SELECT sender_id, queuestats.grouping_set_of(
             GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0
           ) AS grouping_set,
           coalesce(account_id, 0) AS account_id, coalesce(campaign_id, 0) AS campaign_id, coalesce(isp, '') AS isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold
    FROM by_key GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
  ), change AS MATERIALIZED (
    SELECT by_grouping_set.*, coalesce(watermarks.epoch, 0) AS epoch
    FROM by_grouping_set LEFT JOIN queuestats.watermarks USING (sender_id)
    WHERE new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0
  ), ranked AS (
    INSERT INTO queuestats.sender_totals AS kept (sender_id, new, proc, retry, hold)
    SELECT sender_id, new, proc, retry, hold FROM change WHERE grouping_set = 'total' AND epoch = 0
    ON CONFLICT (sender_id) DO UPDATE SET
      new = kept.new + excluded.new, proc = kept.proc + excluded.proc,
      retry = kept.retry + excluded.retry, hold = kept.hold + excluded.hold
  )
  MERGE INTO queuestats.counters AS kept
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

CREATE FUNCTION queuestats.follow_held(left_senders bigint[], left_ids bigint[], moved_senders bigint[], moved_ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    SET "IntervalStyle" TO 'postgres'
    SET extra_float_digits TO '1'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
<<own>>
DECLARE
  forgotten queuestats.held_messages[];
  moved record;
BEGIN
  WITH gone AS (
    DELETE FROM queuestats.held_messages AS held
    USING unnest(left_senders, left_ids) AS message (sender_id, id)
    WHERE held.sender_id = message.sender_id AND held.id = message.id
      -- Another trigger of the table may have moved it back. OFFSET 0 makes the planner read by the key alone.
      AND NOT coalesce((
        SELECT bool_or(still.sender_id = held.sender_id AND still.status = 'hold')
        FROM (SELECT * FROM queuestats.queued_messages AS known WHERE known.id = held.id OFFSET 0) AS still
      ), false)
    RETURNING held.*
  )
  SELECT array_agg(CAST(ROW(gone.*) AS queuestats.held_messages)) INTO forgotten FROM gone
  WHERE gone.id = ANY (moved_ids);
  FOR moved IN
    SELECT
      message.sender_id, held.id,
      CASE
        WHEN held.stored_status IS NOT NULL THEN (CAST(held.stored_status AS text[]))[1]
        ELSE CAST(queuestats.stored_status(held.former_status) AS text)
      END AS value
    FROM unnest(forgotten) AS held
      INNER JOIN unnest(moved_senders, moved_ids) AS message (sender_id, id) ON message.id = held.id
  LOOP
    BEGIN
      UPDATE public.messages AS queuestats_row SET status = CAST(own.moved.value AS public.message_status)
      WHERE id = own.moved.id AND sender_id = own.moved.sender_id;
    EXCEPTION
      WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR lock_not_available THEN
        RAISE;
      WHEN OTHERS THEN
        RAISE LOG 'message % stays on hold: %', moved.id, SQLERRM;
    END;
  END LOOP;
END
$$;

CREATE FUNCTION queuestats.follow_partitions() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  known CONSTANT bigint[] := (SELECT partitions FROM queuestats.baseline WHERE triggers <> '{}');
  seen bigint[];
  seen_triggers bigint[];
  can_follow boolean;
BEGIN
  IF known = ARRAY(SELECT version FROM queuestats.partition_versions() ORDER BY version)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = queuestats.messages_table()) THEN
    RETURN true;
  ELSIF known IS NULL OR NOT queuestats.take_fold_lock(is_waiting => false) THEN
    RETURN false;
  END IF;
  WITH RECURSIVE now_there AS MATERIALIZED (
    SELECT partition, parent, version, is_leaving, version = ANY (known) AS is_known
    FROM queuestats.partition_versions()
  ), tree AS (
    SELECT partition, is_known OR queuestats.was_created_as_one(partition) AS is_grown
    FROM now_there WHERE parent = queuestats.messages_table()
    UNION ALL
    SELECT child.partition, child.is_known OR tree.is_grown AND queuestats.was_created_as_one(child.partition)
    FROM tree INNER JOIN now_there AS child ON child.parent = tree.partition
  )
  SELECT array_agg(version ORDER BY version),
         ARRAY(
           SELECT counting.version FROM queuestats.counting_triggers() AS counting
           WHERE relation IN (SELECT partition FROM now_there WHERE NOT is_known)
         ),
         count(*) FILTER (WHERE is_known) = cardinality(known)
           AND bool_and(is_known OR NOT is_leaving AND queuestats.came_empty(partition, is_grown))
           AND NOT EXISTS (SELECT FROM queuestats.uncountable_messages())
  INTO seen, seen_triggers, can_follow
  FROM now_there INNER JOIN tree USING (partition);
  IF can_follow THEN
    UPDATE queuestats.baseline SET triggers = triggers || seen_triggers, partitions = seen;
    RETURN true;
  END IF;
  DELETE FROM queuestats.baseline;
  RETURN false;
END
$$;

CREATE FUNCTION queuestats.forget_unproven() RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  DELETE FROM queuestats.baseline
  WHERE NOT CASE
    WHEN triggers <> '{}' THEN queuestats.is_proven() AND NOT (SELECT is_missing FROM queuestats.trigger_state())
    ELSE (SELECT NOT is_missing AND NOT is_off FROM queuestats.trigger_state())
      AND ARRAY(SELECT part FROM unnest(parts) AS part ORDER BY part) = ARRAY(
        SELECT CAST(hashtext(format('%s:%s', inhrelid, pg_inherits.xmin)) & 4294967295 AS oid) AS part
        FROM queuestats.partition_versions() INNER JOIN pg_inherits ON inhrelid = partition
        ORDER BY part
      )
  END
$$;

CREATE FUNCTION queuestats.grouping_set_of(is_by_account boolean, is_by_campaign boolean, is_by_isp boolean) RETURNS queuestats.grouping_set
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  SELECT CASE
    WHEN is_by_account AND is_by_campaign AND is_by_isp THEN 'account_campaign_isp'::queuestats.grouping_set
    WHEN is_by_account AND is_by_campaign THEN 'account_campaign'
    WHEN is_by_account AND is_by_isp THEN 'account_isp'
    WHEN is_by_campaign AND is_by_isp THEN 'campaign_isp'
    WHEN is_by_account THEN 'account'
    WHEN is_by_campaign THEN 'campaign'
    WHEN is_by_isp THEN 'isp'
    ELSE 'total'
  END
$$;

CREATE FUNCTION queuestats.has_arrivals() RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT true $$;

CREATE FUNCTION queuestats.has_pending_deltas(most_pending bigint) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  SELECT most_pending <= (
    SELECT count(*) FROM (
      SELECT FROM queuestats.deltas
      WHERE xid >= coalesce((SELECT watermark FROM queuestats.trusted_watermarks WHERE sender_id = 0), '0')
        AND xid >= '0'
      LIMIT most_pending
    ) AS pending
  )
$$;

CREATE FUNCTION queuestats.held_differences(of_sender bigint) RETURNS TABLE(sender_id bigint, hold_id bigint, kept bigint, counted bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM (
    SELECT held.sender_id, held.hold_id, count(*) AS kept, count(message.id) FILTER (
        WHERE held.hold_id IN (SELECT id FROM queuestats.holds)
          OR held.hold_id IN (SELECT unnest(ended_holds) FROM queuestats.jobs WHERE finished_at IS NULL)
      ) AS counted
    FROM queuestats.held_messages AS held
      LEFT JOIN queuestats.queued_messages AS message
        ON message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
    WHERE of_sender IS NULL OR held.sender_id = of_sender
    GROUP BY held.sender_id, held.hold_id
  ) AS compared
  WHERE kept <> counted;
END
$$;

CREATE FUNCTION queuestats.here_since(of_sender bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
  SELECT max(at) FROM queuestats.history_begins WHERE sender_id = CAST(NULL AS bigint)
$$;

CREATE FUNCTION queuestats.history_clock() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$ SELECT clock_timestamp() $$;

CREATE FUNCTION queuestats.history_differences(of_sender bigint) RETURNS TABLE(sender_id bigint, step integer, isp text, at timestamp with time zone, status text, expected bigint, kept bigint)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  WITH entry AS MATERIALIZED (
    SELECT kept.sender_id, kept.step, entry.isp, kept.period + entry.number * queuestats.seconds(kept.step) AS at,
           ARRAY[entry.new, entry.proc, entry.retry, entry.hold] AS changes,
           ARRAY[entry.new_count, entry.proc_count, entry.retry_count, entry.hold_count] AS counts
    FROM queuestats.history AS kept
      CROSS JOIN LATERAL unnest(
        kept.numbers, kept.isps, kept.new, kept.proc, kept.retry, kept.hold,
        kept.new_counts, kept.proc_counts, kept.retry_counts, kept.hold_counts
      ) AS entry (number, isp, new, proc, retry, hold, new_count, proc_count, retry_count, hold_count)
    WHERE of_sender IS NULL OR kept.sender_id = of_sender
  ), present AS (
    SELECT key.sender_id, key.step, key.isp, timestamp with time zone 'infinity' AS at, (
             SELECT ARRAY[queuestats.counter_sum(new), queuestats.counter_sum(proc),
                          queuestats.counter_sum(retry), queuestats.counter_sum(hold)]
             FROM queuestats.changes_not_rolled_up(key.sender_id, key.step) AS change
             WHERE key.isp IS NULL OR change.isp = key.isp
           ) AS changes, (
             SELECT ARRAY[queuestats.counter_sum(new), queuestats.counter_sum(proc),
                          queuestats.counter_sum(retry), queuestats.counter_sum(hold)]
             FROM queuestats.current_counters(
                 key.sender_id, CASE WHEN key.isp IS NULL THEN CAST('total' AS queuestats.grouping_set) ELSE 'isp' END
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
    SELECT FROM queuestats.history_begins AS begins
    WHERE begins.sender_id IN (chained.sender_id, 0) AND begins.at > chained.former_at
  ) AND coalesce(queuestats.here_since(chained.sender_id) <= chained.former_at, true)
$$;

CREATE FUNCTION queuestats.hold_arrived(ids bigint[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    SET "IntervalStyle" TO 'postgres'
    SET extra_float_digits TO '1'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_nestloop TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
<<own>>
DECLARE
  held_ids bigint[];
  held_senders bigint[];
  held_addresses tid[];
BEGIN
  WITH message AS MATERIALIZED (
    SELECT message.*
    FROM unnest(hold_arrived.ids) AS written (id)
      -- OFFSET 0 makes the planner read by the key, and by no other condition.
      CROSS JOIN LATERAL (SELECT * FROM queuestats.queued_messages AS known WHERE known.id = written.id OFFSET 0) AS message
    WHERE message.status IN ('new', 'retry')
  ), matching AS MATERIALIZED (
    SELECT key.*, hold.id AS hold_id
    FROM (SELECT DISTINCT sender_id, account_id, campaign_id, isp FROM message) AS key
      CROSS JOIN LATERAL (
        SELECT id FROM queuestats.holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp)
        ORDER BY created_at, id LIMIT 1
      ) AS hold
  ), arrived AS MATERIALIZED (
    SELECT sender_id, id, address, status, hold_id, CAST(ARRAY[CAST(stored_status AS text)] AS text) AS stored_status
    FROM message INNER JOIN matching USING (sender_id, account_id, campaign_id, isp)
  ), kept AS (
    INSERT INTO queuestats.held_messages (sender_id, id, former_status, stored_status, hold_id)
    -- An adopted table's key may not be unique, because its owner has chosen it. A duplicate must not be an error for a
    -- writer.
    SELECT DISTINCT ON (sender_id, id) sender_id, id, status, stored_status, hold_id FROM arrived
    ON CONFLICT (sender_id, id) DO UPDATE SET
      former_status = excluded.former_status, stored_status = excluded.stored_status, hold_id = excluded.hold_id
  )
  SELECT array_agg(arrived.id), array_agg(arrived.sender_id), array_agg(arrived.address)
  INTO held_ids, held_senders, held_addresses FROM arrived;
  IF held_addresses IS NOT NULL THEN
    -- Another row may have the same address in another partition. Only the expressions of the mapping name columns of
    -- the table, so a column of any name hides no variable.
    UPDATE public.messages AS queuestats_row SET
      status = CAST(queuestats.stored_status('hold') AS public.message_status)
    FROM unnest(own.held_ids, own.held_senders) AS arrived (queuestats_id, queuestats_sender)
    WHERE queuestats_row.ctid = ANY (own.held_addresses)
      AND id = arrived.queuestats_id AND sender_id = arrived.queuestats_sender;
  END IF;
EXCEPTION
  WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR lock_not_available THEN
    RAISE;
  WHEN OTHERS THEN
    IF cardinality(ids) = 1 THEN
      RAISE LOG 'message % can''t be put on hold: %', ids[1], SQLERRM;
    ELSE
      PERFORM queuestats.hold_arrived(ids[:cardinality(ids) / 2]);
      PERFORM queuestats.hold_arrived(ids[cardinality(ids) / 2 + 1:]);
    END IF;
END
$$;

CREATE TABLE queuestats.holds (
    id bigint NOT NULL,
    sender_id bigint NOT NULL,
    account_id bigint,
    campaign_id bigint,
    isp text COLLATE pg_catalog."C",
    reason text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    created_by_kind text DEFAULT 'token'::text NOT NULL,
    sender_limits bigint[],
    account_limits bigint[]
);

CREATE FUNCTION queuestats.holds_of(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text) RETURNS SETOF queuestats.holds
    LANGUAGE sql STABLE
    AS $$
  SELECT * FROM queuestats.holds
  WHERE hash_record_extended(ROW(sender_id, account_id, campaign_id, isp), 0) = ANY (ARRAY[
      hash_record_extended(ROW(of_sender, of_account, of_campaign, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, of_account, of_campaign, NULL::text), 0),
      hash_record_extended(ROW(of_sender, of_account, NULL::bigint, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, of_account, NULL::bigint, NULL::text), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, of_campaign, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, of_campaign, NULL::text), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, NULL::bigint, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, NULL::bigint, NULL::text), 0)
    ])
    AND sender_id IS NOT DISTINCT FROM of_sender
    AND (account_id IS NULL OR account_id = of_account)
    AND (campaign_id IS NULL OR campaign_id = of_campaign)
    AND (isp IS NULL OR isp = of_isp)
$$;

CREATE FUNCTION queuestats.is_covered(of_sender bigint, of_since timestamp with time zone, of_until timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  SELECT EXISTS (
    SELECT FROM queuestats.history_spans
    WHERE since <= of_since AND until >= of_until - interval '5 seconds'
  ) AND NOT EXISTS (
    SELECT FROM queuestats.history_begins WHERE sender_id IN (of_sender, 0) AND at > of_since
  ) AND coalesce(queuestats.here_since(of_sender) <= of_since, true)
$$;

CREATE FUNCTION queuestats.is_distributed() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  found boolean := false;
BEGIN
  IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
    EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)'
    INTO found USING queuestats.messages_table();
  END IF;
  RETURN found;
END
$_$;

CREATE FUNCTION queuestats.is_for(job queuestats.jobs, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_status public.message_status, held_by bigint, hold queuestats.holds) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
  SELECT of_sender = job.sender_id AND CASE
      WHEN held_by = ANY (job.ended_holds) THEN job.action = 'release' AND of_status = 'hold'
      ELSE (job.account_id IS NULL OR of_account = job.account_id)
        AND (job.campaign_id IS NULL OR of_campaign = job.campaign_id)
        AND (job.isp IS NULL OR of_isp = job.isp)
        AND CASE job.action
          WHEN 'hold' THEN of_status IN ('new', 'retry')
          WHEN 'release' THEN of_status = 'hold' AND job.hold_id IS NULL AND hold.id IS NULL
          ELSE hold.id IS NULL OR queuestats.may_end(hold, job.sender_limits, job.account_limits)
        END
    END
$$;

CREATE FUNCTION queuestats.is_holdable() RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT true $$;

CREATE FUNCTION queuestats.is_part_of_messages(of_table oid) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF pg_partition_root(of_table) = 'public.messages'::regclass THEN
    RETURN true;
  ELSIF NOT EXISTS (SELECT FROM queuestats.adopted) THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s is not counted here', of_table::regclass);
  END IF;
  PERFORM queuestats.remember_uncounted() FROM queuestats.baseline
  WHERE triggers && ARRAY(SELECT hash_record_extended(ROW(oid, xmin), 0) FROM pg_trigger WHERE tgrelid = of_table);
  RETURN false;
END
$$;

CREATE FUNCTION queuestats.is_proven() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT holds FROM queuestats.proof()
$$;

CREATE FUNCTION queuestats.latest_change() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
  SELECT greatest(queuestats.history_clock(), (SELECT rolled_until FROM queuestats.history_steps WHERE step = 60))
$$;

CREATE FUNCTION queuestats.lockers_of(of_job bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
<<own>>
DECLARE
  chunk queuestats.job_chunks;
BEGIN
  SELECT * INTO chunk FROM queuestats.job_chunks WHERE job_id = of_job ORDER BY number DESC LIMIT 1;
  RETURN format('%s locked messages', cardinality(chunk.ids)) || coalesce(': ' || queuestats.names_of(ARRAY(
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'transactionid' AND granted AND transactionid IN (
      SELECT queuestats_row.xmax FROM public.messages AS queuestats_row
      WHERE queuestats_row.ctid = ANY (own.chunk.addresses)
    )
  )), '');
END
$$;

CREATE FUNCTION queuestats.log_job(job queuestats.jobs, of_action text, of_reason text DEFAULT ''::text) RETURNS void
    LANGUAGE sql
    AS $$
  INSERT INTO queuestats.audit_log (
    action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, reason, hold_id, job_id,
    hold_ids, messages
  ) VALUES (
    of_action, job.sender_id, job.account_id, job.campaign_id, job.isp, job.requested_by_kind, job.requested_by,
    job.request_id, of_reason, job.hold_id, job.id, CASE WHEN job.finished_at IS NULL THEN job.ended_holds END,
    CASE WHEN job.finished_at IS NOT NULL THEN job.changed END
  )
$$;

CREATE FUNCTION queuestats.mapping_definition() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT '' $$;

CREATE FUNCTION queuestats.may_end(hold queuestats.holds, by_senders bigint[], by_accounts bigint[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT coalesce(
    (by_senders IS NULL OR hold.sender_limits <@ by_senders)
    AND (by_accounts IS NULL OR hold.account_limits <@ by_accounts),
    false
  )
$$;

CREATE TABLE public.messages (
    id bigint NOT NULL,
    sender_id bigint NOT NULL,
    account_id bigint DEFAULT 0 NOT NULL,
    campaign_id bigint DEFAULT 0 NOT NULL,
    isp text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    status public.message_status DEFAULT 'new'::public.message_status NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    recipient text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT messages_account_id_not_negative CHECK ((account_id >= 0)),
    CONSTRAINT messages_campaign_id_not_negative CHECK ((campaign_id >= 0)),
    CONSTRAINT messages_isp_short CHECK ((octet_length(isp) <= 255)),
    CONSTRAINT messages_sender_id_positive CHECK ((sender_id > 0))
);
ALTER TABLE ONLY public.messages ALTER COLUMN sender_id SET STATISTICS 500;

CREATE VIEW queuestats.queued_messages AS
 SELECT sender_id,
    account_id,
    campaign_id,
    isp,
    status,
    id,
    ctid AS address,
    status AS stored_status,
    created_at
   FROM public.messages;

CREATE FUNCTION queuestats.messages_of(of_senders bigint[]) RETURNS SETOF queuestats.queued_messages
    LANGUAGE sql STABLE
    AS $$ SELECT * FROM queuestats.queued_messages WHERE sender_id = ANY (of_senders) $$;

CREATE FUNCTION queuestats.messages_relation() RETURNS TABLE(messages oid)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT CAST(to_regclass('public.messages') AS oid) $$;

CREATE FUNCTION queuestats.messages_table() RETURNS regclass
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT to_regclass('public.messages')::regclass $$;

CREATE FUNCTION queuestats.names_of(transactions text[]) RETURNS text
    LANGUAGE sql
    AS $$
  SELECT coalesce(string_agg(name, ', '), 'a transaction that is ending') FROM (
    SELECT DISTINCT coalesce('process ' || lock.pid, 'prepared transaction ' || quote_literal(prepared.gid))
    FROM pg_locks AS lock
      LEFT JOIN pg_prepared_xacts AS prepared
        ON lock.locktype = 'transactionid' AND lock.transactionid = prepared.transaction
    WHERE lock.virtualtransaction = ANY (transactions) AND coalesce(lock.pid::text, prepared.gid) IS NOT NULL
    LIMIT 3
  ) AS blocker (name)
$$;

CREATE FUNCTION queuestats.next_bound(of_sender bigint, arrived timestamp with time zone[], is_raised boolean) RETURNS TABLE(sender_id bigint, number bigint, new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone, hold timestamp with time zone)
    LANGUAGE plpgsql STABLE ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  former record;
BEGIN
  SELECT * INTO former FROM queuestats.bound_of(of_sender);
  sender_id := of_sender;
  number := former.number + 1;
  new := least(former.new, arrived[1]);
  proc := least(former.proc, arrived[2]);
  retry := least(former.retry, arrived[3]);
  hold := least(former.hold, arrived[4]);
  IF is_raised THEN
    new := queuestats.first_of(of_sender, 'new', new);
    proc := queuestats.first_of(of_sender, 'proc', proc);
    retry := queuestats.first_of(of_sender, 'retry', retry);
    hold := queuestats.first_of(of_sender, 'hold', hold);
  END IF;
  IF (new, proc, retry, hold) IS DISTINCT FROM (former.new, former.proc, former.retry, former.hold) THEN
    RETURN NEXT;
  END IF;
END
$$;

CREATE FUNCTION queuestats.next_job(is_expiry boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  candidate bigint;
BEGIN
  FOR candidate IN
    SELECT open.id FROM (
      SELECT id, run_at, requested_by_kind, stepped_at,
             max(stepped_at) OVER (PARTITION BY sender_id) AS sender_stepped_at
      FROM queuestats.jobs WHERE finished_at IS NULL
    ) AS open
    WHERE open.run_at <= now() AND (NOT is_expiry OR open.requested_by_kind = 'expiry')
    ORDER BY open.sender_stepped_at NULLS FIRST, open.stepped_at NULLS FIRST, open.id
  LOOP
    PERFORM FROM queuestats.jobs WHERE id = candidate AND finished_at IS NULL FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
      RETURN candidate;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

CREATE FUNCTION queuestats.note_task(of_task text, of_error text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  INSERT INTO queuestats.background_tasks AS task (name, succeeded_at, failed_at, failing_since, error)
  VALUES (of_task, CASE WHEN of_error IS NULL THEN now() END, CASE WHEN of_error IS NOT NULL THEN now() END,
          CASE WHEN of_error IS NOT NULL THEN now() END, of_error)
  ON CONFLICT (name) DO UPDATE SET
    succeeded_at = coalesce(excluded.succeeded_at, task.succeeded_at),
    failed_at = coalesce(excluded.failed_at, task.failed_at),
    failing_since = CASE WHEN of_error IS NOT NULL THEN coalesce(task.failing_since, now()) END,
    error = of_error
$$;

CREATE FUNCTION queuestats.oldest_message(of_sender bigint, of_status public.message_status, since timestamp with time zone) RETURNS TABLE(created_at timestamp with time zone)
    LANGUAGE sql STABLE ROWS 1
    AS $$
  SELECT message.created_at FROM queuestats.queued_messages AS message
  WHERE message.sender_id = of_sender AND message.status = of_status AND message.created_at >= since
  ORDER BY message.sender_id, message.status, message.created_at LIMIT 1
$$;

CREATE FUNCTION queuestats.oldest_of(of_sender bigint) RETURNS TABLE(new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone, hold timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
  SELECT first_new.created_at, first_proc.created_at, first_retry.created_at, first_hold.created_at
  FROM (
    SELECT queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold,
           min(oldest) FILTER (WHERE new > 0 OR came & 1 <> 0) AS new_since,
           min(oldest) FILTER (WHERE proc > 0 OR came & 2 <> 0) AS proc_since,
           min(oldest) FILTER (WHERE retry > 0 OR came & 4 <> 0) AS retry_since,
           min(oldest) FILTER (WHERE hold > 0 OR came & 8 <> 0) AS hold_since
    FROM (
      SELECT new, proc, retry, hold, NULL AS oldest, NULL AS came
      FROM queuestats.current_counters(of_sender, 'total') WHERE account_id >= 0
      UNION ALL
      SELECT new, proc, retry, hold, oldest, came FROM queuestats.pending_deltas(of_sender, NULL, NULL, NULL)
    ) AS part
  ) AS counted
    CROSS JOIN queuestats.bound_of(of_sender) AS bound
    LEFT JOIN LATERAL queuestats.oldest_message(
      of_sender, 'new', CASE WHEN counted.new > 0 THEN least(bound.new, new_since) END
    ) AS first_new ON true
    LEFT JOIN LATERAL queuestats.oldest_message(
      of_sender, 'proc', CASE WHEN counted.proc > 0 THEN least(bound.proc, proc_since) END
    ) AS first_proc ON true
    LEFT JOIN LATERAL queuestats.oldest_message(
      of_sender, 'retry', CASE WHEN counted.retry > 0 THEN least(bound.retry, retry_since) END
    ) AS first_retry ON true
    LEFT JOIN LATERAL queuestats.oldest_message(
      of_sender, 'hold', CASE WHEN counted.hold > 0 THEN least(bound.hold, hold_since) END
    ) AS first_hold ON true
$$;

CREATE FUNCTION queuestats.oldest_senders(of_status text, row_limit bigint) RETURNS TABLE(sender_id bigint, new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone, hold timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET row_security TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
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
  best queuestats.bounds[] := '{}';
BEGIN
  IF NOT EXISTS (SELECT FROM queuestats.bounds WHERE sender_id = 0 AND new = 'infinity') THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the bounds of the oldest messages are not set yet';
  END IF;

  SELECT coalesce(max(watermark), '0'), coalesce(max(running), '{}') INTO old_watermark, old_running
  FROM queuestats.trusted_watermarks WHERE sender_id = 0;
  SELECT array_agg(sender_id), array_agg(since) INTO pending, pending_since
  FROM (
    SELECT sender_id, min(oldest) AS since
    FROM (
      SELECT * FROM queuestats.deltas WHERE xid >= old_watermark AND xid >= '0'
      UNION ALL
      SELECT late.* FROM unnest(old_running) AS running (id) CROSS JOIN LATERAL (
        SELECT * FROM queuestats.deltas WHERE xid = running.id AND xid >= '0' OFFSET 0
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
      SELECT sender_id, since FROM queuestats.earliest_bounds(of_status, last_since, last_sender, chunk)
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
        SELECT ROW(candidate.sender_id, 0, oldest.*)::queuestats.bounds
        FROM unnest(looked_up) AS candidate (sender_id)
          CROSS JOIN LATERAL queuestats.oldest_of(candidate.sender_id) AS oldest
      ) AS found
      WHERE queuestats.time_in(times, of_status) IS NOT NULL
      ORDER BY queuestats.time_in(times, of_status), (times).sender_id LIMIT row_limit
    );
    EXIT WHEN cardinality(looked_up) < chunk OR (last_since, last_sender)
      >= (queuestats.time_in(best[row_limit], of_status), (best[row_limit]).sender_id);
    chunk := least(2 * chunk, max_chunk);
  END LOOP;
  RETURN QUERY SELECT sender_id, new, proc, retry, hold FROM unnest(best);
END
$$;

CREATE FUNCTION queuestats.partition_of(step integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  SELECT CASE step WHEN 60 THEN interval '1 day' WHEN 600 THEN interval '7 days' ELSE interval '30 days' END
$$;

CREATE FUNCTION queuestats.partition_versions() RETURNS TABLE(partition oid, parent oid, version bigint, is_leaving boolean)
    LANGUAGE sql STABLE
    AS $$
  WITH RECURSIVE tree AS (
    SELECT inhrelid AS partition, inhparent AS parent, xmin AS attached_by, inhdetachpending AS is_leaving
    FROM pg_inherits WHERE inhparent = queuestats.messages_table()
    UNION ALL
    SELECT child.inhrelid, child.inhparent, child.xmin, child.inhdetachpending
    FROM tree INNER JOIN pg_inherits AS child ON child.inhparent = tree.partition
  )
  SELECT partition, parent, hash_record_extended(ROW(partition, attached_by, relfilenode), 0), is_leaving
  FROM tree INNER JOIN pg_class ON pg_class.oid = tree.partition
$$;

CREATE TABLE queuestats.deltas (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    sender_id bigint NOT NULL,
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    isp text NOT NULL COLLATE pg_catalog."C",
    new bigint NOT NULL,
    proc bigint NOT NULL,
    retry bigint NOT NULL,
    hold bigint NOT NULL,
    oldest timestamp with time zone,
    came smallint,
    net bigint
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='10000', autovacuum_vacuum_insert_threshold='-1', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='10000', autovacuum_vacuum_cost_delay='0', vacuum_truncate=off);

ALTER TABLE ONLY queuestats.deltas REPLICA IDENTITY FULL;

CREATE FUNCTION queuestats.pending_deltas(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text) RETURNS SETOF queuestats.deltas
    LANGUAGE sql STABLE
    AS $$
  SELECT * FROM queuestats.deltas
  WHERE sender_id = of_sender
    AND xid >= coalesce((SELECT watermark FROM queuestats.trusted_watermarks WHERE sender_id = of_sender), '0')
    AND (of_account IS NULL OR account_id = of_account)
    AND (of_campaign IS NULL OR campaign_id = of_campaign)
    AND (of_isp IS NULL OR isp = of_isp)
  UNION ALL
  SELECT late.*
  FROM unnest((SELECT running FROM queuestats.trusted_watermarks WHERE sender_id = of_sender)) AS running (id)
    CROSS JOIN LATERAL (
      SELECT * FROM queuestats.deltas
      WHERE sender_id = of_sender AND xid = running.id
        AND (of_account IS NULL OR account_id = of_account)
        AND (of_campaign IS NULL OR campaign_id = of_campaign)
        AND (of_isp IS NULL OR isp = of_isp)
      OFFSET 0
    ) AS late
$$;

CREATE FUNCTION queuestats.period_of(step integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  SELECT CASE step WHEN 3600 THEN interval '6 hours' ELSE interval '1 hour' END
$$;

CREATE FUNCTION queuestats.postpone_job(of_job bigint, of_error text, is_of_job boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  most_attempts CONSTANT integer := 10;
  job queuestats.jobs;
BEGIN
  UPDATE queuestats.jobs SET
    attempts = attempts + is_of_job::integer,
    error = left(of_error, 500),
    stepped_at = clock_timestamp(),
    written_by = pg_current_xact_id(),
    run_at = now() + least(interval '1 second' * 2 ^ attempts, interval '1 minute'),
    state = CASE WHEN attempts + is_of_job::integer >= most_attempts THEN 'failed' ELSE state END,
    finished_at = CASE WHEN attempts + is_of_job::integer >= most_attempts THEN now() END
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF job.finished_at IS NOT NULL THEN
    DELETE FROM queuestats.job_chunks WHERE job_id = of_job;
    PERFORM queuestats.log_job(job, 'fail');
  END IF;
END
$$;

CREATE FUNCTION queuestats.preview_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, by_senders bigint[], by_accounts bigint[]) RETURNS TABLE(releasable bigint, left_holds bigint, left_messages bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  job queuestats.jobs;
  ended bigint[] := '{}';
  others bigint[] := '{}';
BEGIN
  SELECT of_action, of_sender, of_account, of_campaign, of_isp, by_senders, by_accounts
  INTO job.action, job.sender_id, job.account_id, job.campaign_id, job.isp, job.sender_limits, job.account_limits;
  IF of_action = 'release' THEN
    SELECT * INTO ended, others
    FROM queuestats.divide_holds(of_sender, of_account, of_campaign, of_isp, of_hold, by_senders, by_accounts);
    releasable := queuestats.count_releasable(of_sender, of_account, of_campaign, of_isp, of_hold, ended);
  END IF;
  left_holds := cardinality(others);
  left_messages := queuestats.count_left(job, others);
  RETURN NEXT;
END
$$;

CREATE FUNCTION queuestats.proof() RETURNS TABLE(holds boolean)
    LANGUAGE sql STABLE
    AS $$
  SELECT EXISTS (
    SELECT FROM queuestats.baseline CROSS JOIN queuestats.messages_relation()
    WHERE stands AND doubted_at IS NULL AND NOT EXISTS (SELECT FROM (SELECT WHERE false) AS uncounted_writes)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = messages) AND CASE
        WHEN triggers = '{}' THEN false
        WHEN partitions <> '{}' THEN queuestats.are_partitions_kept(triggers, partitions)
        ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = messages) AND cardinality(triggers) = (
          SELECT count(*) FROM pg_catalog.pg_trigger
          WHERE tgrelid = messages AND hash_record_extended(ROW(oid, xmin), 0) = ANY (triggers)
        ) + (SELECT count(*) FROM queuestats.column_versions() AS kept (version) WHERE version = ANY (triggers))
      END
  )
$$;

CREATE FUNCTION queuestats.prove_sample(share double precision, most integer DEFAULT 10) RETURNS TABLE(senders integer, drifted integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET row_security TO 'off'
    AS $$
DECLARE
  began CONSTANT timestamptz := clock_timestamp();
  chosen bigint[];
  drifting bigint[];
  differing bigint[];
BEGIN
  INSERT INTO queuestats.background_tasks (name) VALUES ('proof') ON CONFLICT DO NOTHING;
  PERFORM FROM queuestats.background_tasks WHERE name = 'proof' AND due_at <= began FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR NOT queuestats.is_proven() THEN
    RETURN;
  END IF;
  LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE;
  chosen := ARRAY(
    SELECT * FROM queuestats.random_senders(most) UNION (SELECT * FROM queuestats.suspect_senders() LIMIT most)
  );
  SELECT array_agg(sender_id), array_agg(differences) INTO drifting, differing
  FROM (
    SELECT chosen_sender AS sender_id, count(*) AS differences
    FROM unnest(chosen) AS chosen_sender CROSS JOIN LATERAL queuestats.audit(chosen_sender)
    GROUP BY chosen_sender
  ) AS found;
  PERFORM queuestats.record_drift(drifting, differing);
  UPDATE queuestats.background_tasks
  SET succeeded_at = clock_timestamp(), error = NULL, failing_since = NULL,
      due_at = clock_timestamp() + greatest((clock_timestamp() - began) / share, interval '10 seconds')
  WHERE name = 'proof';
  RETURN QUERY SELECT cardinality(chosen), coalesce(cardinality(drifting), 0);
END
$$;

CREATE TABLE queuestats.audit_log (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    action text NOT NULL,
    sender_id bigint NOT NULL,
    account_id bigint,
    campaign_id bigint,
    isp text COLLATE pg_catalog."C",
    token_name text DEFAULT ''::text NOT NULL,
    request_id text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    hold_id bigint,
    job_id bigint,
    messages bigint,
    actor_kind text DEFAULT 'token'::text NOT NULL,
    actor_name text,
    subject text,
    hold_ids bigint[]
);

CREATE FUNCTION queuestats.prunable_entries(older_than interval) RETURNS SETOF queuestats.audit_log
    LANGUAGE sql STABLE
    AS $$
  SELECT * FROM queuestats.audit_log AS entry
  WHERE at < now() - older_than
    AND id IS DISTINCT FROM (SELECT max(id) FROM queuestats.audit_log WHERE action = 'verify')
    AND NOT EXISTS (SELECT FROM queuestats.holds WHERE id = entry.hold_id)
    AND NOT EXISTS (SELECT FROM queuestats.jobs WHERE id = entry.job_id AND finished_at IS NULL)
  ORDER BY id
$$;

CREATE FUNCTION queuestats.prunable_jobs(older_than interval) RETURNS SETOF queuestats.jobs
    LANGUAGE sql STABLE
    AS $$
  SELECT * FROM queuestats.jobs AS job
  WHERE finished_at < now() - older_than AND NOT EXISTS (SELECT FROM queuestats.holds WHERE id = job.hold_id)
  ORDER BY id
$$;

CREATE FUNCTION queuestats.prune(older_than interval, at_most integer DEFAULT 5000) RETURNS TABLE(jobs bigint, job_chunks bigint, held_messages bigint, audit_log bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  ended CONSTANT bigint[] := ARRAY(SELECT id FROM queuestats.prunable_jobs(older_than) LIMIT at_most);
BEGIN
  IF older_than < '30 days' AND NOT pg_has_role(session_user, current_user, 'USAGE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the owner may delete rows younger than 30 days';
  ELSIF NOT pg_try_advisory_xact_lock('queuestats.audit_log'::regclass::bigint) THEN
    RETURN;
  END IF;
  held_messages := 0; -- Services of the previous release read it.
  DELETE FROM queuestats.job_chunks WHERE (job_id, number) IN (
    SELECT job_id, number FROM queuestats.job_chunks WHERE job_id = ANY (ended) LIMIT at_most
  );
  GET DIAGNOSTICS job_chunks = ROW_COUNT;
  -- A job is deleted after all rows that belong to it.
  DELETE FROM queuestats.jobs WHERE id = ANY (ended) AND job_chunks = 0;
  GET DIAGNOSTICS jobs = ROW_COUNT;
  DELETE FROM queuestats.audit_log WHERE id IN (
    SELECT id FROM queuestats.prunable_entries(older_than) LIMIT at_most
  );
  GET DIAGNOSTICS audit_log = ROW_COUNT;
  RETURN NEXT;
END
$$;

CREATE FUNCTION queuestats.queue_locks() RETURNS SETOF text
    LANGUAGE sql
    AS $$
  SELECT DISTINCT virtualtransaction FROM pg_locks
  WHERE locktype = 'relation' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND relation IN (
      SELECT relid FROM pg_partition_tree('public.messages'::regclass)
      -- The shards of a node of a cluster.
      UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'public.messages'::regclass
      UNION ALL SELECT 'queuestats.held_messages'::regclass
      UNION ALL SELECT 'public.messages'::regclass
    )
$$;

CREATE FUNCTION queuestats.raise_bounds(of_status text, after timestamp with time zone, after_sender bigint, max_senders integer) RETURNS TABLE(raised integer, is_more boolean, last_bound timestamp with time zone, last_sender bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
  IF (true AND NOT row_security_active('public.messages'::regclass)) IS NOT true THEN
    RETURN QUERY SELECT 0, false, NULL::timestamp with time zone, NULL::bigint;
    RETURN;
  END IF;
  BEGIN
    LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN;
  END;
  IF NOT queuestats.take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true);
  WITH earliest AS MATERIALIZED (
    SELECT * FROM queuestats.earliest_bounds(of_status, coalesce(after, '-infinity'), after_sender, max_senders)
  ), next_bound AS MATERIALIZED (
    SELECT next.* FROM earliest
      CROSS JOIN LATERAL queuestats.next_bound(earliest.sender_id, '{}', is_raised => true) AS next
  ), bounded AS (
    INSERT INTO queuestats.bounds (sender_id, number, new, proc, retry, hold)
    SELECT * FROM next_bound WHERE least(new, proc, retry, hold) < 'infinity'
  ), unbounded AS (
    DELETE FROM queuestats.bounds AS former USING next_bound AS next
    WHERE former.sender_id = next.sender_id AND former.number = next.number - 1
  )
  SELECT (SELECT count(*) FROM next_bound), count(*) OVER () = max_senders, since, sender_id
  INTO raised, is_more, last_bound, last_sender
  FROM earliest ORDER BY since DESC, sender_id DESC LIMIT 1;
  raised := coalesce(raised, 0);
  is_more := coalesce(is_more, false);
  RETURN NEXT;
END
$$;

CREATE FUNCTION queuestats.random_senders(most integer) RETURNS SETOF bigint
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
  WITH bounds AS (SELECT min(sender_id) AS least, max(sender_id) AS greatest FROM queuestats.sender_totals)
  SELECT counted.sender_id
  FROM bounds CROSS JOIN generate_series(1, most / 2) AS number CROSS JOIN LATERAL (
    SELECT sender_id FROM queuestats.sender_totals
    WHERE sender_id >= least + CAST(trunc(random() * (greatest - least + 1)) AS bigint) + 0 * number
    ORDER BY sender_id LIMIT 1
  ) AS counted
  UNION
  SELECT sender_id FROM (
    SELECT sender_id FROM queuestats.senders_at(ARRAY(
      SELECT format('(%s,%s)', trunc(random() * pages)::bigint, 1 + trunc(random() * 20)::bigint)::tid
      FROM generate_series(1, 10 * most) CROSS JOIN (
        SELECT max(pg_relation_size(relid)) / current_setting('block_size')::bigint AS pages
        FROM pg_partition_tree(queuestats.messages_table())
      ) AS size
    )) AS sender_id
    LIMIT most - most / 2
  ) AS picked
$$;

CREATE FUNCTION queuestats.rates_of(of_sender bigint, is_total boolean, of_isps text[]) RETURNS TABLE(isp text, arrived bigint, departed bigint, window_from timestamp with time zone, window_to timestamp with time zone, last_left timestamp with time zone)
    LANGUAGE plpgsql STABLE STRICT ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  last CONSTANT timestamp with time zone := queuestats.start_of(interval '1 minute', queuestats.history_clock());
  first CONSTANT timestamp with time zone := last - interval '5 minutes';
  is_known CONSTANT boolean := queuestats.is_covered(of_sender, first, last);
  here_since CONSTANT timestamp with time zone := coalesce(queuestats.here_since(of_sender), '-infinity');
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
             queuestats.counter_sum(CASE WHEN is_total THEN sender_arrived ELSE change.arrived END)
               FILTER (WHERE at > first AND at <= last AND step < 3600) AS arrived,
             queuestats.counter_sum(new + proc + retry + hold)
               FILTER (WHERE at > first AND at <= last AND step < 3600) AS change
      FROM queuestats.changes_not_rolled_up(of_sender, 3600) AS change
      GROUP BY 1
    ) AS recent ON recent.isp = wanted.isp
    LEFT JOIN LATERAL (
      SELECT kept.period + entry.number * interval '1 hour' - entry.idle_minutes * interval '1 minute' AS left_at
      FROM queuestats.history AS kept
        CROSS JOIN LATERAL unnest(kept.numbers, kept.isps, kept.idle_minutes) AS entry (number, isp, idle_minutes)
      WHERE kept.sender_id = of_sender AND kept.step = 3600 AND entry.idle_minutes IS NOT NULL
        AND CASE WHEN is_total THEN entry.isp IS NULL ELSE entry.isp = wanted.isp END
      ORDER BY kept.period DESC, entry.number DESC LIMIT 1
    ) AS earlier ON recent.left_at IS NULL;
END
$$;

CREATE FUNCTION queuestats.rebuild(of_sender bigint DEFAULT NULL::bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET work_mem TO '64MB'
    SET plan_cache_mode TO 'force_custom_plan'
    SET row_security TO 'off'
    AS $$
BEGIN
  -- Locks messages before the fold's lock, in the same order as TRUNCATE.
  LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE;
  PERFORM queuestats.take_fold_lock(is_waiting => true);

  IF of_sender IS NULL THEN
    INSERT INTO queuestats.baseline DEFAULT VALUES ON CONFLICT (stands) DO UPDATE SET counted_at = excluded.counted_at;
    IF false THEN
      -- What the snapshot of this statement sees, the count sees too.
      DELETE FROM queuestats.uncounted_writes;
    END IF;
    -- Before the count, so that a change during the count has another version.
    PERFORM queuestats.remember_proof();
    -- After the count: a trigger that was disabled by now is disabled in those versions, or has another version.
    IF EXISTS (SELECT FROM queuestats.trigger_state() WHERE is_missing OR is_off) THEN
      RAISE object_not_in_prerequisite_state USING
        MESSAGE = format('a trigger that counts %s is missing or disabled', queuestats.messages_table()),
        HINT = 'Run queuestats migrate.';
    END IF;
  END IF;

  DELETE FROM queuestats.drift WHERE of_sender IS NULL OR sender_id = of_sender;
  UPDATE queuestats.baseline SET doubted_at = NULL
  WHERE doubted_at IS NOT NULL AND NOT EXISTS (SELECT FROM queuestats.drift);
  -- A transaction id that was not assigned yet comes from another cluster, through a dump: no fold would take the
  -- delta.
  DELETE FROM queuestats.deltas
  WHERE (of_sender IS NULL OR sender_id = of_sender) AND xid >= pg_snapshot_xmax(pg_current_snapshot());
  DELETE FROM queuestats.counters WHERE of_sender IS NULL OR sender_id = of_sender;
  UPDATE queuestats.watermarks
  SET watermark = '0', running = '{}', epoch = epoch + 1, compacted_at = now(), written_by = pg_current_xact_id()
  WHERE of_sender IS NULL OR sender_id IN (of_sender, 0);

  INSERT INTO queuestats.counters
    (sender_id, grouping_set, epoch, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, grouping_set, 0, account_id, campaign_id, isp,
         counted.new, counted.proc, counted.retry, counted.hold
  FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp,
           queuestats.counter_sum(part.new) AS new, queuestats.counter_sum(part.proc) AS proc,
           queuestats.counter_sum(part.retry) AS retry, queuestats.counter_sum(part.hold) AS hold
    FROM (
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
      FROM queuestats.recount(of_sender)
      UNION ALL
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, -new, -proc, -retry, -hold
      FROM queuestats.deltas_by_grouping_set(of_sender, is_from_watermark => false)
    ) AS part
    GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  ) AS counted
  WHERE counted.new <> 0 OR counted.proc <> 0 OR counted.retry <> 0 OR counted.hold <> 0;

  DELETE FROM queuestats.sender_totals WHERE of_sender IS NULL OR sender_id = of_sender;
  INSERT INTO queuestats.sender_totals (sender_id, new, proc, retry, hold)
  SELECT sender_id, new, proc, retry, hold FROM queuestats.counters
  WHERE grouping_set = 'total' AND epoch = 0 AND (of_sender IS NULL OR sender_id = of_sender);
  PERFORM queuestats.set_bounds(of_sender);
  PERFORM queuestats.begin_history(coalesce(of_sender, 0));
END
$$;

CREATE FUNCTION queuestats.record_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET work_mem TO '256kB'
    SET enable_sort TO 'off'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM 'public.messages'::regclass AND NOT queuestats.is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, account_id, campaign_id, isp,
         -count(*) FILTER (WHERE status = 'new'),
         -count(*) FILTER (WHERE status = 'proc'),
         -count(*) FILTER (WHERE status = 'retry'),
         -count(*) FILTER (WHERE status = 'hold')
  FROM old_rows
  GROUP BY sender_id, account_id, campaign_id, isp;
  IF EXISTS (SELECT FROM old_rows WHERE status = 'hold') THEN
    PERFORM queuestats.follow_held(array_agg(sender_id), array_agg(id), NULL, NULL)
    FROM old_rows WHERE status = 'hold';
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION queuestats.record_drift(of_senders bigint[], of_differences bigint[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO queuestats.drift (sender_id, differences)
  SELECT * FROM unnest(of_senders, of_differences)
  ON CONFLICT (sender_id) DO UPDATE SET differences = excluded.differences, found_at = excluded.found_at;
  IF FOUND THEN
    UPDATE queuestats.baseline SET doubted_at = now() WHERE doubted_at IS NULL;
  END IF;
END
$$;

CREATE FUNCTION queuestats.record_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET work_mem TO '256kB'
    SET enable_sort TO 'off'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM 'public.messages'::regclass AND NOT queuestats.is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest)
  SELECT sender_id, account_id, campaign_id, isp,
         count(*) FILTER (WHERE status = 'new'),
         count(*) FILTER (WHERE status = 'proc'),
         count(*) FILTER (WHERE status = 'retry'),
         count(*) FILTER (WHERE status = 'hold'),
         min(created_at)
  FROM new_rows
  GROUP BY sender_id, account_id, campaign_id, isp;
  PERFORM FROM (SELECT DISTINCT sender_id FROM new_rows WHERE status IN ('new', 'retry')) AS arrived
    CROSS JOIN LATERAL (SELECT FROM queuestats.holds WHERE holds.sender_id = arrived.sender_id LIMIT 1) AS hold
  LIMIT 1;
  IF FOUND THEN
    PERFORM queuestats.hold_arrived(array_agg(id)) FROM (
      SELECT unnest(key.ids) AS id FROM (
        SELECT sender_id, account_id, campaign_id, isp, array_agg(id) AS ids
        FROM new_rows WHERE status IN ('new', 'retry') GROUP BY sender_id, account_id, campaign_id, isp
      ) AS key
        CROSS JOIN LATERAL (
          SELECT FROM queuestats.holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp) LIMIT 1
        ) AS hold
    ) AS held
    HAVING count(*) > 0;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION queuestats.record_leaving() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  minute CONSTANT timestamp with time zone := queuestats.cover_history();
BEGIN
  INSERT INTO queuestats.history_changes
    (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
  SELECT 60, minute, sender_id, isp, minute, -sum(new), -sum(proc), -sum(retry), -sum(hold),
         sum(arrived), sum(sender_arrived), minute, minute
  FROM (
    SELECT sender_id, isp, new, proc, retry, hold, 0 AS arrived, 0 AS sender_arrived
    FROM queuestats.counters WHERE grouping_set = 'isp'
    UNION ALL
    SELECT sender_id, isp, 0, 0, 0, 0, greatest(new + proc + retry + hold, 0),
           greatest(coalesce(net, new + proc + retry + hold), 0)
    FROM queuestats.deltas
  ) AS leaving
  GROUP BY sender_id, isp;
END
$$;

CREATE FUNCTION queuestats.record_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF TG_RELID IS DISTINCT FROM 'public.messages'::regclass AND NOT queuestats.is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  -- A TRUNCATE of a partition would delete all counts with it.
  ELSIF TG_RELID <> 'public.messages'::regclass THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s is not counted here', TG_RELID::regclass);
  END IF;
  LOCK TABLE queuestats.fold_lock IN EXCLUSIVE MODE;
  IF current_setting('transaction_isolation') = 'read committed' THEN
    PERFORM queuestats.record_leaving();
  ELSE
    BEGIN
      -- The messages that leave may not be in the snapshot.
      PERFORM queuestats.begin_history(0);
    EXCEPTION WHEN serialization_failure THEN
      NULL; -- A rebuild since the snapshot began the history at the same time.
    END;
  END IF;
  BEGIN
    DELETE FROM queuestats.counters;
    DELETE FROM queuestats.deltas;
    DELETE FROM queuestats.held_messages;
  EXCEPTION WHEN serialization_failure THEN
    -- Another transaction has folded since the snapshot.
    DELETE FROM queuestats.deltas WHERE xid = pg_current_xact_id();
  END;
  BEGIN
    DELETE FROM queuestats.sender_totals;
  EXCEPTION WHEN serialization_failure THEN
    NULL; -- For the same reason; clear_counts deletes them.
  END;
  BEGIN
    DELETE FROM queuestats.bounds WHERE sender_id <> 0;
  EXCEPTION WHEN serialization_failure THEN
    NULL; -- For the same reason. A bound that is too early is not wrong.
  END;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    INSERT INTO queuestats.fold_lock DEFAULT VALUES;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION queuestats.record_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET work_mem TO '256kB'
    SET enable_sort TO 'off'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM 'public.messages'::regclass AND NOT queuestats.is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest, came, net)
  SELECT sender_id, account_id, campaign_id, isp, delta.new, delta.proc, delta.retry, delta.hold, oldest, came,
         CASE WHEN total <> 0 THEN
           CASE WHEN row_number() OVER of_sender = 1 THEN sum(total) OVER of_sender ELSE 0 END
         END
  FROM (
    SELECT sender_id, account_id, campaign_id, isp, sum(sign) AS total,
           sum(CASE status WHEN 'new' THEN sign ELSE 0 END) AS new,
           sum(CASE status WHEN 'proc' THEN sign ELSE 0 END) AS proc,
           sum(CASE status WHEN 'retry' THEN sign ELSE 0 END) AS retry,
           sum(CASE status WHEN 'hold' THEN sign ELSE 0 END) AS hold,
           min(arrived_at) AS oldest, min(left_at) AS oldest_left,
           bit_or(CASE WHEN sign > 0 THEN
             CASE status WHEN 'new' THEN 1 WHEN 'proc' THEN 2 WHEN 'retry' THEN 4 ELSE 8 END
           END) AS came
    FROM (
      SELECT sender_id, account_id, campaign_id, isp, status, 1 AS sign,
             created_at AS arrived_at, CAST(NULL AS timestamp with time zone) AS left_at
      FROM new_rows
      UNION ALL
      SELECT sender_id, account_id, campaign_id, isp, status, -1, NULL, created_at FROM old_rows
    ) AS message
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS delta
  WHERE delta.new <> 0 OR delta.proc <> 0 OR delta.retry <> 0 OR delta.hold <> 0
    OR oldest < coalesce(oldest_left, 'infinity') OR came NOT IN (1, 2, 4, 8)
  WINDOW of_sender AS (PARTITION BY sender_id, total <> 0);
  IF EXISTS (SELECT FROM old_rows WHERE status = 'hold') THEN
    PERFORM queuestats.follow_held(
      array_agg(sender_id) FILTER (WHERE was_held), array_agg(id) FILTER (WHERE was_held),
      array_agg(sender_id) FILTER (WHERE NOT was_held), array_agg(id) FILTER (WHERE NOT was_held)
    ) FROM (
      SELECT sender_id, id, bool_or(is_old) AS was_held FROM (
        SELECT sender_id, id, true AS is_old FROM old_rows WHERE status = 'hold'
        UNION ALL
        SELECT sender_id, id, false AS is_old FROM new_rows WHERE status = 'hold'
      ) AS held
      GROUP BY sender_id, id HAVING count(*) = 1
    ) AS changed;
  END IF;
  PERFORM FROM (SELECT DISTINCT sender_id FROM new_rows WHERE status IN ('new', 'retry')) AS arrived
    CROSS JOIN LATERAL (SELECT FROM queuestats.holds WHERE holds.sender_id = arrived.sender_id LIMIT 1) AS hold
  LIMIT 1;
  IF FOUND THEN
    PERFORM queuestats.hold_arrived(array_agg(id)) FROM (
      SELECT unnest(key.ids) AS id FROM (
        SELECT sender_id, account_id, campaign_id, isp, array_agg(id) AS ids
        FROM new_rows WHERE status IN ('new', 'retry') GROUP BY sender_id, account_id, campaign_id, isp
      ) AS key
        CROSS JOIN LATERAL (
          SELECT FROM queuestats.holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp) LIMIT 1
        ) AS hold
    ) AS held
    HAVING count(*) > 0;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION queuestats.recorded_changes(of_sender bigint, of_step integer, since timestamp with time zone, is_total boolean) RETURNS TABLE(at timestamp with time zone, isp text, new bigint, proc bigint, retry bigint, hold bigint, arrived bigint)
    LANGUAGE sql STABLE
    AS $$
  SELECT kept.period + entry.number * queuestats.seconds(of_step), coalesce(entry.isp, ''),
         entry.new, entry.proc, entry.retry, entry.hold, entry.arrived
  FROM queuestats.history AS kept
    CROSS JOIN LATERAL unnest(kept.numbers, kept.isps, kept.new, kept.proc, kept.retry, kept.hold, kept.arrived)
      AS entry (number, isp, new, proc, retry, hold, arrived)
  WHERE kept.sender_id = of_sender AND kept.step = of_step AND kept.period > since - queuestats.period_of(of_step)
    AND (entry.isp IS NULL) = is_total
  UNION ALL
  SELECT queuestats.start_of(queuestats.seconds(of_step), until - interval '1 microsecond')
           + queuestats.seconds(of_step),
         CASE WHEN is_total THEN '' ELSE isp END, new, proc, retry, hold,
         CASE WHEN is_total THEN sender_arrived ELSE arrived END
  FROM queuestats.changes_not_rolled_up(of_sender, of_step)
  WHERE until > since
$$;

CREATE FUNCTION queuestats.recount(of_sender bigint) RETURNS TABLE(sender_id bigint, grouping_set queuestats.grouping_set, account_id bigint, campaign_id bigint, isp text, new bigint, proc bigint, retry bigint, hold bigint, other bigint)
    LANGUAGE sql STABLE
    AS $$
  SELECT sender_id, queuestats.grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold),
         queuestats.counter_sum(total - new - proc - retry - hold)
  FROM (
    SELECT sender_id, account_id, campaign_id, isp,
           count(*) FILTER (WHERE status = 'new') AS new, count(*) FILTER (WHERE status = 'proc') AS proc,
           count(*) FILTER (WHERE status = 'retry') AS retry, count(*) FILTER (WHERE status = 'hold') AS hold,
           count(*) AS total
    FROM queuestats.queued_messages
    WHERE of_sender IS NULL OR sender_id = of_sender
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS by_key
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;

CREATE FUNCTION queuestats.recount_if_needed() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  drifting CONSTANT bigint := (SELECT min(sender_id) FROM queuestats.drift);
BEGIN
  IF NOT EXISTS (SELECT FROM queuestats.why_uncounted() WHERE can_be_counted) THEN
    RETURN false;
  END IF;
  -- The same order of locks as in rebuild.
  LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE;
  IF NOT queuestats.take_fold_lock(is_waiting => false) OR queuestats.is_proven() THEN
    RETURN false;
  END IF;
  -- A session keeps a plan for NEW and OLD with their former types. These statements change only the version of the
  -- functions, so each session compiles them again.
  IF to_regproc('queuestats.record_row') IS NOT NULL THEN
    ALTER FUNCTION queuestats.record_row() SECURITY DEFINER;
  END IF;
  IF to_regproc('queuestats.record_names') IS NOT NULL THEN
    ALTER FUNCTION queuestats.record_names() SECURITY DEFINER;
  END IF;
  -- While drift is left, the proof is not examined. Then all messages are counted if the proof has failed too.
  PERFORM queuestats.rebuild(drifting);
  RETURN true;
END
$$;

CREATE FUNCTION queuestats.remember_proof() RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  UPDATE queuestats.baseline SET
    triggers = ARRAY(
      SELECT version FROM queuestats.counting_triggers()
      UNION ALL
      SELECT version FROM queuestats.column_versions() AS version
    ),
    partitions = ARRAY(SELECT version FROM queuestats.partition_versions() ORDER BY version)
$$;

CREATE FUNCTION queuestats.remember_uncounted() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO queuestats.uncounted_writes (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION queuestats.repair_held(of_sender bigint, by_name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET row_security TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
  job queuestats.jobs;
BEGIN
  DELETE FROM queuestats.held_messages AS held
  WHERE (of_sender IS NULL OR held.sender_id = of_sender) AND NOT EXISTS (
    SELECT FROM queuestats.queued_messages AS message
    WHERE message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
  );
  UPDATE queuestats.held_messages SET hold_id = 0
  WHERE hold_id IS NULL AND (of_sender IS NULL OR sender_id = of_sender);
  FOR job IN
    INSERT INTO queuestats.jobs
      (action, sender_id, hold_id, ended_holds, requested_by_kind, requested_by, request_id)
    SELECT 'release', sender_id, hold_id, ARRAY[hold_id], 'command', by_name, ''
    FROM queuestats.held_differences(of_sender)
    RETURNING *
  LOOP
    PERFORM queuestats.log_job(job, 'release', 'verify --repair');
  END LOOP;
END
$$;

CREATE FUNCTION queuestats.require_arrivals() RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = 'QS400', MESSAGE = 'oldest is not known: the mapping of this queue does not name the time of arrival';
END
$$;

CREATE FUNCTION queuestats.require_counted() RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
  uncounted record;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the database is a standby';
  ELSIF NOT queuestats.is_proven() THEN
    SELECT * INTO uncounted FROM queuestats.why_uncounted();
    RAISE EXCEPTION USING
      ERRCODE = CASE WHEN uncounted.is_waiting THEN 'QS425' ELSE 'QS503' END,
      MESSAGE = 'the queue is not counted', DETAIL = uncounted.reason,
      HINT = 'Run queuestats doctor.';
  END IF;
  RETURN true;
END
$$;

CREATE FUNCTION queuestats.require_here(of_sender bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF queuestats.away(of_sender) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'its shard is moving';
  END IF;
END
$$;

CREATE FUNCTION queuestats.require_possible(of_action text, keys bigint[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF queuestats.is_distributed() THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'a distributed queue is held and purged by UPDATE and DELETE of messages';
  END IF;
  IF of_action <> 'purge' AND NOT queuestats.is_holdable() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS400', MESSAGE = 'the mapping does not define how a status is written';
  END IF;
  -- If two texts have the same number, the second has the negative number as its id: sql/adopt/names.sql.
  IF of_action <> 'release' AND EXISTS (
    SELECT FROM queuestats.keys AS key WHERE key.id IN (SELECT -number FROM unnest(keys) AS number)
  ) THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'two keys of the queue have this number, and the call would act on both';
  END IF;
END
$$;

CREATE FUNCTION queuestats.require_share(of_action text, by_kind text, by_name text, most_holds bigint, most_jobs bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF by_kind <> 'token' OR coalesce(most_holds, most_jobs) IS NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock('queuestats.holds'::regclass::oid::integer, hashtext(by_name));
  IF of_action = 'hold' AND most_holds <= (
    SELECT count(*) FROM queuestats.holds WHERE created_by_kind = 'token' AND created_by = by_name
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS429', MESSAGE = format('this token has %s active holds', most_holds);
  END IF;
  IF most_jobs <= (
    SELECT count(*) FROM queuestats.jobs
    WHERE finished_at IS NULL AND requested_by_kind = 'token' AND requested_by = by_name
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS430', MESSAGE = format('this token has %s open jobs', most_jobs);
  END IF;
END
$$;

CREATE FUNCTION queuestats.roll_up_history(max_changes integer, kept_by_minute interval, kept_by_ten_minutes interval, kept_by_hour interval) RETURNS TABLE(rolled_up integer, is_more boolean)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET jit TO 'off'
    SET work_mem TO '16MB'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
  rolled queuestats.history_steps;
  due timestamp with time zone;
  first record;
  last_sender bigint;
BEGIN
  IF NOT queuestats.take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true);
  FOR rolled IN SELECT * FROM queuestats.history_steps ORDER BY step LOOP
    due := queuestats.start_of(
      queuestats.seconds(rolled.step),
      queuestats.history_clock() - CASE WHEN rolled.step > 60 THEN interval '6 minutes' ELSE interval '0' END
    );
    SELECT until, sender_id INTO first FROM queuestats.history_changes
    WHERE step = rolled.step AND (until, sender_id) > (rolled.rolled_until, rolled.rolled_sender) AND until <= due
    ORDER BY step, until, sender_id LIMIT 1;
    IF FOUND THEN
      last_sender := (
        SELECT max(sender_id) FROM (
          SELECT sender_id FROM queuestats.history_changes
          WHERE step = rolled.step AND until = first.until AND sender_id >= first.sender_id
          ORDER BY step, until, sender_id LIMIT max_changes
        ) AS taken
      );
      rolled_up := queuestats.roll_up_step(rolled.step, first.until, first.sender_id, last_sender);
      UPDATE queuestats.history_steps SET rolled_until = first.until, rolled_sender = last_sender
      WHERE step = rolled.step;
      is_more := true;
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE queuestats.history_steps SET rolled_until = due, rolled_sender = 9223372036854775807
    WHERE step = rolled.step AND rolled_until < due;
  END LOOP;
  PERFORM queuestats.drop_history(60, kept_by_minute), queuestats.drop_history(600, kept_by_ten_minutes),
          queuestats.drop_history(3600, kept_by_hour);
  DELETE FROM queuestats.history_spans WHERE until < queuestats.history_clock() - kept_by_hour;
  DELETE FROM queuestats.history_begins WHERE sender_id >= 0 AND at < queuestats.history_clock() - kept_by_hour;
  rolled_up := 0;
  is_more := false;
  RETURN NEXT;
END
$$;

CREATE FUNCTION queuestats.roll_up_step(of_step integer, of_until timestamp with time zone, first_sender bigint, last_sender bigint) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  next_step CONSTANT integer := CASE of_step WHEN 60 THEN 600 WHEN 600 THEN 3600 END;
  of_period CONSTANT timestamp with time zone := queuestats.start_of(
    queuestats.period_of(of_step), of_until - queuestats.seconds(of_step)
  );
  of_number CONSTANT smallint := extract(EPOCH FROM of_until - of_period) / of_step;
  -- The time up to which changes are recorded.
  latest CONSTANT timestamp with time zone := greatest(
    queuestats.history_clock(), (SELECT rolled_until FROM queuestats.history_steps WHERE step = 60)
  );
  moved integer;
BEGIN
  PERFORM queuestats.add_history_partition(of_step, of_period);
  WITH gone AS (
    DELETE FROM queuestats.history_changes
    WHERE step = of_step AND until = of_until AND sender_id BETWEEN first_sender AND last_sender RETURNING *
  ), passed_on AS (
    INSERT INTO queuestats.history_changes
      (step, until, sender_id, isp, at, new, proc, retry, hold, arrived, sender_arrived, left_at, sender_left_at)
    SELECT next_step,
           queuestats.start_of(queuestats.seconds(next_step), of_until - queuestats.seconds(of_step))
             + queuestats.seconds(next_step),
           sender_id, isp, of_until, sum(new), sum(proc), sum(retry), sum(hold), sum(arrived), sum(sender_arrived),
           max(left_at), max(sender_left_at)
    FROM gone WHERE next_step IS NOT NULL GROUP BY sender_id, isp
    HAVING sum(new) <> 0 OR sum(proc) <> 0 OR sum(retry) <> 0 OR sum(hold) <> 0
      OR sum(arrived) <> 0 OR sum(sender_arrived) <> 0 OR max(sender_left_at) IS NOT NULL
  ), change AS (
    SELECT sender_id, GROUPING(isp) = 1 AS is_total, coalesce(isp, '') AS isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold,
           CASE GROUPING(isp) WHEN 1 THEN queuestats.counter_sum(sender_arrived)
                ELSE queuestats.counter_sum(arrived) END AS arrived,
           CASE GROUPING(isp) WHEN 1 THEN max(sender_left_at) ELSE max(left_at) END AS left_at
    FROM gone GROUP BY GROUPING SETS ((sender_id), (sender_id, isp))
  ), later AS (
    SELECT sender_id, GROUPING(isp) = 1 AS is_total, coalesce(isp, '') AS isp,
           queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
           queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold
    FROM (VALUES (60), (600), (3600)) AS not_rolled_up (step)
      CROSS JOIN LATERAL generate_series(
        of_until + queuestats.seconds(step), latest + queuestats.seconds(step), queuestats.seconds(step)
      ) AS until
      CROSS JOIN LATERAL (
        SELECT sender_id, isp, new, proc, retry, hold FROM queuestats.history_changes AS change
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
        SELECT queuestats.counter_sum(new) AS new, queuestats.counter_sum(proc) AS proc,
               queuestats.counter_sum(retry) AS retry, queuestats.counter_sum(hold) AS hold
        FROM queuestats.current_counters(
            change.sender_id, CASE WHEN change.is_total THEN CAST('total' AS queuestats.grouping_set) ELSE 'isp' END
          ) AS counter
        WHERE counter.account_id >= 0 AND counter.account_id = 0 AND counter.campaign_id = 0
          AND counter.isp = change.isp
      ) AS present
    WHERE (change.is_total OR of_step > 60)
      AND (change.new <> 0 OR change.proc <> 0 OR change.retry <> 0 OR change.hold <> 0 OR change.arrived <> 0)
  )
  INSERT INTO queuestats.history AS kept (
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

CREATE FUNCTION queuestats.scanned_messages(of_senders bigint[]) RETURNS SETOF queuestats.queued_messages
    LANGUAGE sql STABLE
    AS $$ SELECT * FROM queuestats.queued_messages $$;

CREATE FUNCTION queuestats.seconds(number integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT number * interval '1 second' $$;

CREATE FUNCTION queuestats.senders_at(addresses tid[]) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN QUERY SELECT message.sender_id FROM queuestats.queued_messages AS message WHERE message.address = ANY (addresses);
  RETURN QUERY SELECT message.sender_id FROM queuestats.queued_messages AS message LIMIT 1000;
END
$$;

CREATE FUNCTION queuestats.set_bounds(of_sender bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
BEGIN
  IF NOT true OR NOT EXISTS (
    SELECT FROM queuestats.bounds WHERE sender_id = 0 AND (of_sender IS NULL OR new = 'infinity')
  ) THEN
    RETURN;
  END IF;
  DELETE FROM queuestats.bounds WHERE sender_id = of_sender OR of_sender IS NULL;
  INSERT INTO queuestats.bounds (sender_id, number, new, proc, retry, hold)
  SELECT counted.sender_id, 1, first.new, first.proc, first.retry, first.hold
  FROM (
    SELECT DISTINCT sender_id FROM queuestats.counters
    WHERE grouping_set = 'total' AND (of_sender IS NULL OR sender_id = of_sender)
  ) AS counted
    CROSS JOIN LATERAL queuestats.next_bound(
      counted.sender_id, ARRAY(SELECT timestamp with time zone '-infinity' FROM generate_series(1, 4)),
      is_raised => true
    ) AS first
  WHERE least(first.new, first.proc, first.retry, first.hold) < 'infinity';
  IF of_sender IS NULL THEN
    INSERT INTO queuestats.bounds VALUES (0, 0, 'infinity', 'infinity', 'infinity', 'infinity');
  END IF;
END
$$;

CREATE FUNCTION queuestats.shown_time(at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  SELECT CASE
    WHEN at < timestamp with time zone '0001-01-01 Z' THEN timestamp with time zone '0001-01-01 Z'
    WHEN at > timestamp with time zone '9999-12-31 23:59:59.999999Z'
      THEN timestamp with time zone '9999-12-31 23:59:59.999999Z'
    ELSE at
  END
$$;

CREATE FUNCTION queuestats.start_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text DEFAULT 'token'::text, at_most bigint DEFAULT NULL::bigint, of_hold bigint DEFAULT NULL::bigint) RETURNS TABLE(job_id bigint, hold_id bigint)
    LANGUAGE sql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT * FROM queuestats.begin_job(
      of_action, of_sender, of_account, of_campaign, of_isp, by_name, of_request, of_reason, expires_in, by_kind,
      at_most, of_hold, NULL, NULL, NULL, NULL
    )
$$;

CREATE FUNCTION queuestats.start_of(step interval, at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT date_bin(step, at, timestamp with time zone '2000-01-01Z') $$;

CREATE FUNCTION queuestats.step_job(of_job bigint DEFAULT NULL::bigint, most_pending bigint DEFAULT 20000) RETURNS TABLE(job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean)
    LANGUAGE sql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT job_id, action, state, matched, changed, newly_changed, is_waiting
  FROM queuestats.advance_job(of_job, most_pending)
$$;

CREATE FUNCTION queuestats.still_running(transactions text[]) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  running text[] := ARRAY(
    SELECT name FROM unnest(transactions) AS name WHERE name IN (SELECT virtualtransaction FROM pg_locks)
  );
BEGIN
  IF EXISTS (SELECT FROM unnest(transactions) AS name WHERE name <> ALL (running) AND name NOT LIKE '-1/%') THEN
    running := ARRAY(
      SELECT unnest(running) UNION SELECT name FROM queuestats.queue_locks() AS name WHERE name LIKE '-1/%'
    );
  END IF;
  RETURN running;
END
$$;

CREATE FUNCTION queuestats.stored_status(of_status public.message_status) RETURNS public.message_status
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT of_status $$;

CREATE FUNCTION queuestats.suspect_senders() RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'on'
    SET enable_bitmapscan TO 'on'
    AS $$
  SELECT sender_id FROM (
    SELECT sender_id, sum(new + 3 * proc + 5 * retry + 7 * hold) AS weighted
    FROM queuestats.counters GROUP BY sender_id, grouping_set
  ) AS kept
  GROUP BY sender_id HAVING min(weighted) <> max(weighted)
  UNION
  SELECT sender_id FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold FROM queuestats.counters
    UNION ALL
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
    FROM queuestats.deltas_by_grouping_set(NULL, is_from_watermark => false)
  ) AS part
  GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  HAVING least(sum(new), sum(proc), sum(retry), sum(hold)) < 0
  UNION
  SELECT counters.sender_id
  FROM queuestats.counters LEFT JOIN queuestats.watermarks ON watermarks.sender_id = counters.sender_id
  WHERE counters.epoch <> 0 AND counters.epoch IS DISTINCT FROM watermarks.epoch
$$;

CREATE FUNCTION queuestats.take_fold_lock(is_waiting boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the counters are changed in READ COMMITTED only' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF is_waiting THEN
    LOCK TABLE queuestats.fold_lock IN EXCLUSIVE MODE;
  ELSE
    BEGIN
      LOCK TABLE queuestats.fold_lock IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      RETURN false;
    END;
  END IF;
  RETURN true;
END
$$;

CREATE TABLE queuestats.bounds (
    sender_id bigint NOT NULL,
    number bigint NOT NULL,
    new timestamp with time zone NOT NULL,
    proc timestamp with time zone NOT NULL,
    retry timestamp with time zone NOT NULL,
    hold timestamp with time zone NOT NULL
);

CREATE FUNCTION queuestats.time_in(times queuestats.bounds, of_status text) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT CASE of_status
    WHEN 'new' THEN times.new WHEN 'proc' THEN times.proc WHEN 'retry' THEN times.retry WHEN 'hold' THEN times.hold
    ELSE least(times.new, times.proc, times.retry, times.hold)
  END
$$;

CREATE FUNCTION queuestats.trigger_state() RETURNS TABLE(is_missing boolean, is_off boolean, is_partial boolean)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT 4 > (
           count(DISTINCT function) FILTER (WHERE relation = counted.messages)
           + 3 * count(*) FILTER (WHERE relation = counted.messages AND function = 'record_row')
         ),
         coalesce(bool_or(NOT is_on), false),
         coalesce(bool_or(NOT is_always) FILTER (WHERE relation = counted.messages), false)
  FROM queuestats.messages_relation() AS counted LEFT JOIN queuestats.counting_triggers() ON true
  WHERE counted.messages IS NOT NULL
$$;

CREATE FUNCTION queuestats.uncountable_messages() RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  messages CONSTANT regclass := queuestats.messages_table();
  kind CONSTANT "char" := (SELECT relkind FROM pg_class WHERE oid = messages);
BEGIN
  IF kind IS NULL THEN
    RETURN NEXT coalesce(
      (SELECT format('the adopted table %s was dropped or renamed', mapping ->> 'queue') FROM queuestats.adopted),
      'there is no table messages'
    );
  ELSIF kind NOT IN ('r', 'p') THEN
    RETURN NEXT 'messages is a view or a foreign table, and writes to the table behind it are not counted';
  END IF;

  RETURN QUERY
  SELECT format('the mapping of %s can''t be evaluated: %s', messages, unfit)
  FROM queuestats.unfit_mapping() AS unfit
  WHERE kind IS NOT NULL AND unfit IS NOT NULL;

  -- Until the messages have been counted, statements read the messages themselves.
  RETURN QUERY
  SELECT format('triggers that count %s are missing: run queuestats migrate', messages)
  FROM queuestats.trigger_state()
  WHERE is_missing AND EXISTS (SELECT FROM queuestats.baseline) AND NOT queuestats.is_distributed();

  RETURN QUERY
  SELECT format('the partition %s of %s lacks the triggers that count', part.relid, messages)
  FROM pg_partition_tree(messages) AS part
  WHERE part.isleaf AND part.relid <> messages AND 3 > (
    SELECT count(DISTINCT function) + 3 * count(*) FILTER (WHERE function = 'record_row')
    FROM queuestats.counting_triggers()
    WHERE relation = part.relid AND is_on
  );

  RETURN QUERY
  SELECT format('the partition %s of %s is a foreign table, and writes to the table behind it are not counted',
                part.relid, messages)
  FROM pg_partition_tree(messages) AS part JOIN pg_class ON oid = part.relid
  WHERE relkind = 'f';

  RETURN QUERY
  SELECT format('%s inherits from %s, and writes to it are not counted', child.oid::regclass, messages)
  FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
  WHERE inhparent = messages AND NOT child.relispartition;

  RETURN QUERY
  SELECT format('%s is a part of %s, and writes through %2$s are not counted', messages, inhparent::regclass)
  FROM pg_inherits
  WHERE inhrelid = messages;

  IF queuestats.is_distributed() AND to_regnamespace('queuestats_local') IS NULL THEN
    RETURN NEXT format('%s is distributed, and its shards are not counted: run queuestats migrate', messages);
  END IF;
END
$_$;

CREATE FUNCTION queuestats.unfit_mapping() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CAST(NULL AS text) $$;

CREATE FUNCTION queuestats.unread_counts(of_sender bigint) RETURNS TABLE(sender_id bigint, grouping_set queuestats.grouping_set, account_id bigint, campaign_id bigint, isp text, new bigint, proc bigint, retry bigint, hold bigint)
    LANGUAGE sql STABLE
    AS $$
  SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
  FROM queuestats.counters
  WHERE (of_sender IS NULL OR sender_id = of_sender) AND epoch <> 0
    AND (sender_id, epoch) NOT IN (SELECT watermarks.sender_id, watermarks.epoch FROM queuestats.watermarks)
  UNION ALL
  SELECT deltas.sender_id, 'account_campaign_isp', account_id, campaign_id, isp,
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM queuestats.deltas
  WHERE (of_sender IS NULL OR deltas.sender_id = of_sender) AND EXISTS (
    SELECT FROM queuestats.trusted_watermarks AS trusted
    WHERE trusted.sender_id IN (0, deltas.sender_id) AND xid < watermark AND xid <> ALL (running)
  )
  GROUP BY deltas.sender_id, account_id, campaign_id, isp
$$;

CREATE FUNCTION queuestats.was_created_as_one(of_partition oid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT EXISTS (
    SELECT FROM pg_inherits AS inherited INNER JOIN pg_attribute AS created ON created.attrelid = inherited.inhrelid
    WHERE inherited.inhrelid = of_partition AND created.attname = 'ctid' AND inherited.xmin = created.xmin
      AND CAST(CAST(inherited.cmin AS text) AS bigint) - CAST(CAST(created.cmin AS text) AS bigint) < 5
  )
$$;

CREATE FUNCTION queuestats.were_triggers_kept(of_partition oid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT NOT EXISTS (
    SELECT FROM pg_trigger AS trigger
      INNER JOIN pg_proc AS called ON called.oid = tgfoid
      INNER JOIN pg_inherits AS inherited ON inhrelid = tgrelid
      INNER JOIN pg_depend AS made ON made.classid = 'pg_trigger'::regclass AND made.objid = trigger.oid
    WHERE tgrelid = of_partition AND called.pronamespace = 'queuestats'::regnamespace
      AND (trigger.xmin <> inherited.xmin OR trigger.xmin <> made.xmin
        OR CAST(CAST(trigger.cmin AS text) AS bigint) > CAST(CAST(made.cmin AS text) AS bigint))
  )
$$;

CREATE FUNCTION queuestats.why_uncounted() RETURNS TABLE(reason text, can_be_counted boolean, is_waiting boolean)
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
  IF queuestats.is_proven() THEN
    RETURN;
  END IF;
  SELECT NOT is_missing AND NOT is_off INTO can_be_counted FROM queuestats.trigger_state();
  SELECT string_agg(uncountable, '; ') INTO reason FROM queuestats.uncountable_messages() AS uncountable;
  IF reason IS NOT NULL THEN
    RETURN QUERY SELECT reason, false, false;
  ELSIF EXISTS (SELECT FROM queuestats.partition_versions() WHERE is_leaving) THEN
    RETURN QUERY SELECT 'a partition is being detached concurrently', false, true;
  ELSIF NOT EXISTS (SELECT FROM queuestats.baseline) THEN
    RETURN QUERY SELECT
      'the messages have not been counted yet, or partitions have changed since', can_be_counted, true;
  ELSIF EXISTS (SELECT FROM queuestats.baseline WHERE doubted_at IS NOT NULL) THEN
    RETURN QUERY SELECT 'wrong counts were found', can_be_counted, true;
  ELSIF (SELECT partitions FROM queuestats.baseline)
    <> ARRAY(SELECT version FROM queuestats.partition_versions() ORDER BY version) THEN
    RETURN QUERY SELECT 'partitions were attached, detached, dropped or rewritten', can_be_counted, true;
  ELSIF EXISTS (SELECT FROM (SELECT WHERE false) AS uncounted_writes) OR EXISTS (
    SELECT FROM queuestats.baseline CROSS JOIN queuestats.column_versions() AS seen (version)
    WHERE version <> ALL (triggers)
  ) THEN
    RETURN QUERY SELECT 'a column that the mapping names was altered', can_be_counted, true;
  ELSE
    RETURN QUERY SELECT
      'a trigger that counts is or was disabled, or was created again', can_be_counted, false;
  END IF;
END
$$;

CREATE FUNCTION queuestats.writers_before(of_xid xid8) RETURNS text[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  low_bits CONSTANT bigint := of_xid::text::bigint & 4294967295;
BEGIN
  RETURN ARRAY(
    SELECT * FROM queuestats.queue_locks()
    UNION
    SELECT lock.virtualtransaction
    FROM pg_stat_activity AS activity
      INNER JOIN pg_locks AS lock ON lock.pid = activity.pid AND lock.locktype = 'virtualxid' AND lock.granted
    WHERE activity.datname = current_database() AND activity.pid <> pg_backend_pid()
      -- A VACUUM has a snapshot but writes no messages.
      AND activity.pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
      -- The distance on a circle of 2^32 transaction ids.
      AND (low_bits - activity.backend_xmin::text::bigint) & 4294967295 BETWEEN 1 AND 2147483647
  );
END
$$;

CREATE AGGREGATE queuestats.counter_sum(bigint) (
    SFUNC = int8pl,
    STYPE = bigint,
    INITCOND = '0',
    COMBINEFUNC = int8pl,
    PARALLEL = safe
);

ALTER TABLE public.messages ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queuestats.adopted (
    stands boolean DEFAULT true NOT NULL,
    mapping jsonb NOT NULL,
    definition text DEFAULT ''::text NOT NULL,
    CONSTRAINT adopted_stands CHECK (stands)
);

CREATE TABLE queuestats.alembic_version (
    version_num character varying(32) NOT NULL
);

ALTER TABLE queuestats.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queuestats.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queuestats.background_tasks (
    name text NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    succeeded_at timestamp with time zone,
    failed_at timestamp with time zone,
    failing_since timestamp with time zone,
    error text
);

CREATE TABLE queuestats.baseline (
    stands boolean DEFAULT true NOT NULL,
    counted_at timestamp with time zone DEFAULT now() NOT NULL,
    parts oid[] DEFAULT '{}'::oid[] NOT NULL,
    triggers bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    partitions bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    doubted_at timestamp with time zone,
    CONSTRAINT baseline_stands CHECK (stands)
);

CREATE TABLE queuestats.contract (
    stands boolean NOT NULL,
    number integer NOT NULL,
    oldest integer NOT NULL,
    CONSTRAINT contract_stands CHECK (stands)
);

CREATE TABLE queuestats.drift (
    sender_id bigint NOT NULL,
    differences bigint NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE queuestats.fold_lock (
    never boolean
);

ALTER TABLE ONLY queuestats.fold_lock REPLICA IDENTITY FULL;

CREATE TABLE queuestats.held_messages (
    sender_id bigint NOT NULL,
    id bigint NOT NULL,
    former_status public.message_status NOT NULL,
    stored_status text,
    hold_id bigint
);

CREATE TABLE queuestats.history (
    step integer NOT NULL,
    sender_id bigint NOT NULL,
    period timestamp with time zone NOT NULL,
    numbers smallint[] NOT NULL,
    isps text[] NOT NULL COLLATE pg_catalog."C",
    new bigint[] NOT NULL,
    proc bigint[] NOT NULL,
    retry bigint[] NOT NULL,
    hold bigint[] NOT NULL,
    arrived bigint[] NOT NULL,
    new_counts bigint[] NOT NULL,
    proc_counts bigint[] NOT NULL,
    retry_counts bigint[] NOT NULL,
    hold_counts bigint[] NOT NULL,
    idle_minutes smallint[] NOT NULL
)
PARTITION BY RANGE (step, period);
ALTER TABLE ONLY queuestats.history ALTER COLUMN numbers SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN isps SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN new SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN proc SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN retry SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN hold SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN arrived SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN new_counts SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN proc_counts SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN retry_counts SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN hold_counts SET STORAGE MAIN;
ALTER TABLE ONLY queuestats.history ALTER COLUMN idle_minutes SET STORAGE MAIN;

CREATE TABLE queuestats.history_begins (
    sender_id bigint NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE queuestats.history_spans (
    since timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE TABLE queuestats.history_steps (
    step integer NOT NULL,
    rolled_until timestamp with time zone NOT NULL,
    rolled_sender bigint NOT NULL,
    kept_since timestamp with time zone
);

ALTER TABLE queuestats.holds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queuestats.holds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE queuestats.jobs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queuestats.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queuestats.keys (
    id bigint NOT NULL,
    value text NOT NULL
);

CREATE TABLE queuestats.objects (
    kind text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL
);

CREATE TABLE queuestats.repeatable_migrations (
    name text NOT NULL,
    hash text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE queuestats.sender_totals (
    sender_id bigint NOT NULL,
    new bigint NOT NULL,
    proc bigint NOT NULL,
    retry bigint NOT NULL,
    hold bigint NOT NULL,
    total bigint GENERATED ALWAYS AS ((((new + proc) + retry) + hold)) STORED NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE queuestats.tokens (
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    scopes text[] DEFAULT '{stats}'::text[] NOT NULL,
    sender_ids bigint[],
    account_ids bigint[],
    expires_at timestamp with time zone,
    former_hash bytea,
    former_until timestamp with time zone
);

CREATE TABLE queuestats.watermarks (
    sender_id bigint NOT NULL,
    watermark xid8 NOT NULL,
    running xid8[] DEFAULT '{}'::xid8[] NOT NULL,
    epoch bigint NOT NULL,
    written_by xid8 NOT NULL,
    compacted_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');

CREATE VIEW queuestats.trusted_watermarks AS
 SELECT sender_id,
    epoch,
    compacted_at,
        CASE
            WHEN is_ours THEN watermark
            ELSE '0'::xid8
        END AS watermark,
        CASE
            WHEN is_ours THEN running
            ELSE '{}'::xid8[]
        END AS running
   FROM ( SELECT watermarks.sender_id,
            watermarks.watermark,
            watermarks.running,
            watermarks.epoch,
            watermarks.written_by,
            watermarks.compacted_at,
            ((watermarks.xmin = (watermarks.written_by)::xid) AND (watermarks.written_by < pg_snapshot_xmax(pg_current_snapshot()))) AS is_ours
           FROM queuestats.watermarks) known;

CREATE TABLE queuestats.uncounted_writes (
    xid xid8 NOT NULL
);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id, sender_id);

ALTER TABLE ONLY queuestats.adopted
    ADD CONSTRAINT adopted_pkey PRIMARY KEY (stands);

ALTER TABLE ONLY queuestats.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY queuestats.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queuestats.background_tasks
    ADD CONSTRAINT background_tasks_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queuestats.baseline
    ADD CONSTRAINT baseline_pkey PRIMARY KEY (stands);

ALTER TABLE ONLY queuestats.bounds
    ADD CONSTRAINT bounds_pkey PRIMARY KEY (sender_id, number);

ALTER TABLE ONLY queuestats.contract
    ADD CONSTRAINT contract_pkey PRIMARY KEY (stands);

ALTER TABLE ONLY queuestats.drift
    ADD CONSTRAINT drift_pkey PRIMARY KEY (sender_id);

ALTER TABLE ONLY queuestats.held_messages
    ADD CONSTRAINT held_messages_pkey PRIMARY KEY (sender_id, id);

ALTER TABLE ONLY queuestats.history_begins
    ADD CONSTRAINT history_begins_pkey PRIMARY KEY (sender_id, at);

ALTER TABLE ONLY queuestats.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (sender_id, step, period);

ALTER TABLE ONLY queuestats.history_spans
    ADD CONSTRAINT history_spans_pkey PRIMARY KEY (since);

ALTER TABLE ONLY queuestats.history_steps
    ADD CONSTRAINT history_steps_pkey PRIMARY KEY (step);

ALTER TABLE ONLY queuestats.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queuestats.job_chunks
    ADD CONSTRAINT job_chunks_pkey PRIMARY KEY (job_id, number);

ALTER TABLE ONLY queuestats.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queuestats.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queuestats.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (kind, name);

ALTER TABLE ONLY queuestats.repeatable_migrations
    ADD CONSTRAINT repeatable_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queuestats.sender_totals
    ADD CONSTRAINT sender_totals_pkey PRIMARY KEY (sender_id);

ALTER TABLE ONLY queuestats.tokens
    ADD CONSTRAINT tokens_former_hash_key UNIQUE (former_hash);

ALTER TABLE ONLY queuestats.tokens
    ADD CONSTRAINT tokens_hash_key UNIQUE (hash);

ALTER TABLE ONLY queuestats.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (name);

ALTER TABLE ONLY queuestats.uncounted_writes
    ADD CONSTRAINT uncounted_writes_pkey PRIMARY KEY (xid);

ALTER TABLE ONLY queuestats.watermarks
    ADD CONSTRAINT watermarks_pkey PRIMARY KEY (sender_id);

CREATE INDEX messages_by_arrival ON public.messages USING btree (sender_id, status, created_at);

CREATE INDEX audit_log_sender_id ON queuestats.audit_log USING btree (sender_id, id);

CREATE INDEX audit_log_verify ON queuestats.audit_log USING btree (id) WHERE (action = 'verify'::text);

CREATE INDEX bounds_by_hold ON queuestats.bounds USING btree (hold, sender_id) WHERE (hold < 'infinity'::timestamp with time zone);

CREATE INDEX bounds_by_new ON queuestats.bounds USING btree (new, sender_id) WHERE (new < 'infinity'::timestamp with time zone);

CREATE INDEX bounds_by_proc ON queuestats.bounds USING btree (proc, sender_id) WHERE (proc < 'infinity'::timestamp with time zone);

CREATE INDEX bounds_by_retry ON queuestats.bounds USING btree (retry, sender_id) WHERE (retry < 'infinity'::timestamp with time zone);

CREATE INDEX bounds_by_total ON queuestats.bounds USING btree (LEAST(new, proc, retry, hold), sender_id) WHERE (LEAST(new, proc, retry, hold) < 'infinity'::timestamp with time zone);

CREATE UNIQUE INDEX counters_by_account ON queuestats.counters USING btree (sender_id, grouping_set, epoch, account_id, campaign_id, isp) WHERE (account_id >= 0);

CREATE UNIQUE INDEX counters_by_isp ON queuestats.counters USING btree (sender_id, grouping_set, epoch, isp, campaign_id, account_id) WHERE (isp >= ''::text);

CREATE INDEX deltas_sender_id_xid ON queuestats.deltas USING btree (sender_id, xid);

CREATE INDEX deltas_xid ON queuestats.deltas USING btree (xid) WHERE (xid >= '0'::xid8);

CREATE INDEX held_messages_hold ON queuestats.held_messages USING btree (hold_id) WHERE (hold_id IS NOT NULL);

CREATE INDEX history_changes_step_until_sender_id ON queuestats.history_changes USING btree (step, until, sender_id);

CREATE INDEX holds_filter ON queuestats.holds USING btree (hash_record_extended(ROW(sender_id, account_id, campaign_id, isp), (0)::bigint));

CREATE INDEX holds_sender_id ON queuestats.holds USING btree (sender_id);

CREATE INDEX jobs_open ON queuestats.jobs USING btree (id) WHERE (finished_at IS NULL);

CREATE INDEX jobs_sender_id ON queuestats.jobs USING btree (sender_id, id);

CREATE INDEX sender_totals_by_hold ON queuestats.sender_totals USING btree (hold DESC, sender_id) WHERE (hold > 0);

CREATE INDEX sender_totals_by_new ON queuestats.sender_totals USING btree (new DESC, sender_id) WHERE (new > 0);

CREATE INDEX sender_totals_by_proc ON queuestats.sender_totals USING btree (proc DESC, sender_id) WHERE (proc > 0);

CREATE INDEX sender_totals_by_retry ON queuestats.sender_totals USING btree (retry DESC, sender_id) WHERE (retry > 0);

CREATE INDEX sender_totals_by_total ON queuestats.sender_totals USING btree (total DESC, sender_id) WHERE (total > 0);

CREATE INDEX tokens_in_force ON queuestats.tokens USING btree (name) WHERE (revoked_at IS NULL);

CREATE STATISTICS public.messages_keys (ndistinct, dependencies) ON sender_id, account_id, campaign_id FROM public.messages;

CREATE TRIGGER messages_deleted AFTER DELETE ON public.messages REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_delete();

ALTER TABLE public.messages ENABLE ALWAYS TRIGGER messages_deleted;

CREATE TRIGGER messages_inserted AFTER INSERT ON public.messages REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_insert();

ALTER TABLE public.messages ENABLE ALWAYS TRIGGER messages_inserted;

CREATE TRIGGER messages_truncated AFTER TRUNCATE ON public.messages FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_truncate();

ALTER TABLE public.messages ENABLE ALWAYS TRIGGER messages_truncated;

CREATE TRIGGER messages_updated AFTER UPDATE ON public.messages REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_update();

ALTER TABLE public.messages ENABLE ALWAYS TRIGGER messages_updated;

CREATE CONSTRAINT TRIGGER truncated AFTER INSERT ON queuestats.fold_lock DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION queuestats.clear_counts();

ALTER TABLE queuestats.fold_lock ENABLE ALWAYS TRIGGER truncated;

GRANT USAGE ON SCHEMA queuestats TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.add_history_partition(of_step integer, of_period timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.advance_job(of_job bigint, most_pending bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.advance_job(of_job bigint, most_pending bigint) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.away(of_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.begin_bounds() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.begin_history(of_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.begin_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text, at_most bigint, of_hold bigint, by_senders bigint[], by_accounts bigint[], most_holds bigint, most_jobs bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.begin_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text, at_most bigint, of_hold bigint, by_senders bigint[], by_accounts bigint[], most_holds bigint, most_jobs bigint) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.cancel_job(of_job bigint, by_name text, by_kind text) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.cancel_job(of_job bigint, by_name text, by_kind text) TO queuestats_service;

GRANT SELECT ON TABLE queuestats.job_chunks TO queuestats_service;

GRANT SELECT ON TABLE queuestats.jobs TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.change_chunk(job queuestats.jobs, chunk queuestats.job_chunks, is_by_message boolean, OUT changed bigint, OUT has_left_some boolean, OUT failed bigint, OUT error text) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.change_messages(job queuestats.jobs, of_ids bigint[], of_addresses tid[], OUT changed bigint, OUT free_ids bigint[]) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.history_changes TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.clear_counts() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.collect_job(job queuestats.jobs) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.compact(max_counters integer, compact_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.compact(max_counters integer, compact_after interval) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.count_collected(job queuestats.jobs) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.count_for(job queuestats.jobs) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.count_left(job queuestats.jobs, left_holds bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.count_releasable(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, ended bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.cover_history() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.create_or_replace(file text, in_schema text) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.counters TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.divide_holds(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, by_senders bigint[], by_accounts bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.drop_history(of_step integer, kept_for interval) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.expire_holds() FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.expire_holds() TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.first_of(of_sender bigint, of_status public.message_status, since timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.fold(max_deltas integer, mark_every double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.fold(max_deltas integer, mark_every double precision) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.follow_held(left_senders bigint[], left_ids bigint[], moved_senders bigint[], moved_ids bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.follow_partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.follow_partitions() TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.forget_unproven() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.has_pending_deltas(most_pending bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.held_differences(of_sender bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.held_differences(of_sender bigint) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.hold_arrived(ids bigint[]) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.holds TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.holds_of(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.is_for(job queuestats.jobs, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_status public.message_status, held_by bigint, hold queuestats.holds) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.is_part_of_messages(of_table oid) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.lockers_of(of_job bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.log_job(job queuestats.jobs, of_action text, of_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.may_end(hold queuestats.holds, by_senders bigint[], by_accounts bigint[]) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.queued_messages TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.names_of(transactions text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.next_bound(of_sender bigint, arrived timestamp with time zone[], is_raised boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.next_job(is_expiry boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.next_job(is_expiry boolean) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.note_task(of_task text, of_error text) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.note_task(of_task text, of_error text) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.oldest_senders(of_status text, row_limit bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.oldest_senders(of_status text, row_limit bigint) TO queuestats_service;

GRANT SELECT ON TABLE queuestats.deltas TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.postpone_job(of_job bigint, of_error text, is_of_job boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.postpone_job(of_job bigint, of_error text, is_of_job boolean) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.preview_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, by_senders bigint[], by_accounts bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.preview_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, by_senders bigint[], by_accounts bigint[]) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.prove_sample(share double precision, most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.prove_sample(share double precision, most integer) TO queuestats_service;

GRANT SELECT,INSERT ON TABLE queuestats.audit_log TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.prune(older_than interval, at_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.prune(older_than interval, at_most integer) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.queue_locks() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.raise_bounds(of_status text, after timestamp with time zone, after_sender bigint, max_senders integer) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.raise_bounds(of_status text, after timestamp with time zone, after_sender bigint, max_senders integer) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.rebuild(of_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.record_delete() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.record_drift(of_senders bigint[], of_differences bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.record_drift(of_senders bigint[], of_differences bigint[]) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.record_insert() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.record_leaving() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.record_truncate() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.record_update() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.recount_if_needed() FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.recount_if_needed() TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.remember_proof() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.remember_uncounted() FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.repair_held(of_sender bigint, by_name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.require_here(of_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.require_possible(of_action text, keys bigint[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.require_share(of_action text, by_kind text, by_name text, most_holds bigint, most_jobs bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.roll_up_history(max_changes integer, kept_by_minute interval, kept_by_ten_minutes interval, kept_by_hour interval) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.roll_up_history(max_changes integer, kept_by_minute interval, kept_by_ten_minutes interval, kept_by_hour interval) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.roll_up_step(of_step integer, of_until timestamp with time zone, first_sender bigint, last_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.senders_at(addresses tid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.set_bounds(of_sender bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.start_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text, at_most bigint, of_hold bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.start_job(of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, by_name text, of_request text, of_reason text, expires_in interval, by_kind text, at_most bigint, of_hold bigint) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.step_job(of_job bigint, most_pending bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION queuestats.step_job(of_job bigint, most_pending bigint) TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.still_running(transactions text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION queuestats.take_fold_lock(is_waiting boolean) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.bounds TO queuestats_service;

REVOKE ALL ON FUNCTION queuestats.writers_before(of_xid xid8) FROM PUBLIC;

GRANT SELECT ON TABLE queuestats.adopted TO queuestats_service;

GRANT SELECT ON TABLE queuestats.alembic_version TO queuestats_service;

GRANT SELECT ON TABLE queuestats.background_tasks TO queuestats_service;

GRANT SELECT ON TABLE queuestats.baseline TO queuestats_service;

GRANT SELECT ON TABLE queuestats.contract TO queuestats_service;

GRANT SELECT ON TABLE queuestats.drift TO queuestats_service;

GRANT SELECT ON TABLE queuestats.held_messages TO queuestats_service;

GRANT SELECT ON TABLE queuestats.history TO queuestats_service;

GRANT SELECT ON TABLE queuestats.history_begins TO queuestats_service;

GRANT SELECT ON TABLE queuestats.history_spans TO queuestats_service;

GRANT SELECT ON TABLE queuestats.history_steps TO queuestats_service;

GRANT SELECT ON TABLE queuestats.keys TO queuestats_service;

GRANT SELECT ON TABLE queuestats.objects TO queuestats_service;

GRANT SELECT ON TABLE queuestats.repeatable_migrations TO queuestats_service;

GRANT SELECT ON TABLE queuestats.sender_totals TO queuestats_service;

GRANT SELECT ON TABLE queuestats.tokens TO queuestats_service;

GRANT SELECT ON TABLE queuestats.watermarks TO queuestats_service;

GRANT SELECT ON TABLE queuestats.trusted_watermarks TO queuestats_service;

GRANT SELECT ON TABLE queuestats.uncounted_writes TO queuestats_service;
