-- advance_job: does the next step of a job (NULL: of next_job): it collects the messages to change, or changes one
-- chunk. No row if there is no such job.
-- is_waiting: the job can't continue now, because messages are locked, transactions that have not seen the hold are
-- open, or too many deltas are pending. waits_for: the cause, in words.
--
-- waiting -> working -> settling -> done, or failed. In the state settling, all messages that matched at the start are
-- done. The job then waits for transactions that had not seen the hold, or its end, and collects once more what they
-- have written.
-- One step is one transaction: a crash rolls back a step, and the next caller repeats it.
-- places: schema, messages, messages_oid
CREATE OR REPLACE FUNCTION "{schema}".advance_job(of_job bigint DEFAULT NULL, most_pending bigint DEFAULT 20000)
RETURNS TABLE (
  job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean,
  failed bigint, error text, left_holds bigint, left_messages bigint, waits_for text
)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
<<own>>
DECLARE
  most_failed CONSTANT bigint := 1000;
  job "{schema}".jobs;
  is_of_this_cluster boolean;
  chunk "{schema}".job_chunks;
  done record;
  waits_for text;
BEGIN
  of_job := coalesce(of_job, "{schema}".next_job());
  SELECT * INTO job FROM "{schema}".jobs WHERE finished_at IS NULL AND id = of_job FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  newly_changed := 0;
  -- As for a watermark, a transaction id is not valid in another cluster.
  SELECT xmin = written_by::xid AND written_by < pg_snapshot_xmax(pg_current_snapshot()) INTO is_of_this_cluster
  FROM "{schema}".jobs WHERE id = job.id;
  IF is_of_this_cluster IS NOT TRUE THEN
    job.blockers := NULL;
    job.settles_at := CASE WHEN job.settles_at IS NOT NULL THEN pg_snapshot_xmax(pg_current_snapshot()) END;
  END IF;

  waits_for := "{schema}".away(job.sender_id);
  IF waits_for IS NOT NULL THEN
    NULL; -- The node that will have the shard continues.
  ELSIF job.state = 'waiting' THEN
    job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
    job.matched := "{schema}".collect_job(job);
    job.state := 'working';
  ELSIF job.state = 'settling' THEN
    job.blockers := CASE
        WHEN job.blockers IS NULL THEN "{schema}".writers_before(job.settles_at)
        ELSE "{schema}".still_running(job.blockers)
      END;
    IF job.blockers = '{}' THEN
      job.matched := job.matched - job.failed + "{schema}".collect_job(job);
      -- Messages that could not be changed are collected and tried again.
      job.failed := 0;
      job.settles_at := NULL;
      job.state := 'working';
    ELSE
      waits_for := "{schema}".names_of(job.blockers);
    END IF;
  ELSIF job.requested_by_kind <> 'expiry' AND "{schema}".has_pending_deltas(most_pending) THEN
    waits_for := format('the fold: %s deltas are pending', most_pending);
  ELSE
    SELECT * INTO chunk FROM "{schema}".job_chunks WHERE job_id = job.id ORDER BY number LIMIT 1;
    IF FOUND THEN
      done := "{schema}".change_chunk(job, chunk, false);
      newly_changed := done.changed;
      job.changed := job.changed + done.changed;
      job.failed := job.failed + done.failed;
      job.error := coalesce(job.error, left(done.error, 500));
      IF done.has_left_some AND done.changed = 0 THEN
        waits_for := "{schema}".lockers_of(job.id);
      END IF;
      DELETE FROM "{schema}".job_chunks WHERE job_id = job.id AND (number = chunk.number OR job.failed >= most_failed);
    ELSIF job.settles_at IS NOT NULL AND job.action <> 'purge' AND job.failed < most_failed THEN
      -- A job with at_most collects its messages before other transactions see its hold, or the end of a hold.
      job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
      job.state := 'settling';
    ELSE
      job.state := CASE WHEN job.failed > 0 THEN 'failed' ELSE 'done' END;
      job.finished_at := now();
      PERFORM "{schema}".log_job(job, CASE WHEN job.failed > 0 THEN 'fail' ELSE 'finish' END);
    END IF;
  END IF;

  -- A waiting job is skipped for a quarter of the time that it has waited, 0.05 to 5 seconds.
  job.waits_since := CASE WHEN waits_for IS NOT NULL THEN coalesce(job.waits_since, now()) END;
  UPDATE "{schema}".jobs SET
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

-- step_job: advance_job for services of the previous release.
CREATE OR REPLACE FUNCTION "{schema}".step_job(of_job bigint DEFAULT NULL, most_pending bigint DEFAULT 20000)
RETURNS TABLE (
  job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean
)
LANGUAGE sql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT job_id, action, state, matched, changed, newly_changed, is_waiting
  FROM "{schema}".advance_job(of_job, most_pending)
$$;

-- next_job: the open job for the next step, without waiting jobs and jobs of another process. NULL if there is none.
-- Senders take turns: the next sender is the one with the least recent step.
-- is_expiry: only releases of expired holds, for which a separate worker runs.
CREATE OR REPLACE FUNCTION "{schema}".next_job(is_expiry boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  candidate bigint;
BEGIN
  FOR candidate IN
    SELECT open.id FROM (
      SELECT id, run_at, requested_by_kind, stepped_at,
             max(stepped_at) OVER (PARTITION BY sender_id) AS sender_stepped_at
      FROM "{schema}".jobs WHERE finished_at IS NULL
    ) AS open
    WHERE open.run_at <= now() AND (NOT is_expiry OR open.requested_by_kind = 'expiry')
    ORDER BY open.sender_stepped_at NULLS FIRST, open.stepped_at NULLS FIRST, open.id
  LOOP
    PERFORM FROM "{schema}".jobs WHERE id = candidate AND finished_at IS NULL FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
      RETURN candidate;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

-- postpone_job: skips a job for a while after a step that ended in an error, twice as long each time, up to a minute.
-- After ten failures in a row the job fails. is_of_job: false for an error that does not depend on the job (a full
-- disk, a lost connection), which does not count as a failure.
CREATE OR REPLACE FUNCTION "{schema}".postpone_job(of_job bigint, of_error text, is_of_job boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  most_attempts CONSTANT integer := 10;
  job "{schema}".jobs;
BEGIN
  UPDATE "{schema}".jobs SET
    attempts = attempts + is_of_job::integer,
    error = left(of_error, 500),
    stepped_at = clock_timestamp(),
    written_by = pg_current_xact_id(),
    run_at = now() + least(interval '1 second' * 2 ^ attempts, interval '1 minute'),
    state = CASE WHEN attempts + is_of_job::integer >= most_attempts THEN 'failed' ELSE state END,
    finished_at = CASE WHEN attempts + is_of_job::integer >= most_attempts THEN now() END
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF job.finished_at IS NOT NULL THEN
    DELETE FROM "{schema}".job_chunks WHERE job_id = of_job;
    PERFORM "{schema}".log_job(job, 'fail');
  END IF;
END
$$;

-- has_pending_deltas: whether at least this many deltas are pending.
CREATE OR REPLACE FUNCTION "{schema}".has_pending_deltas(most_pending bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT most_pending <= (
    SELECT count(*) FROM (
      SELECT FROM "{schema}".deltas
      WHERE xid >= coalesce((SELECT watermark FROM "{schema}".trusted_watermarks WHERE sender_id = 0), '0')
        AND xid >= '0'
      LIMIT most_pending
    ) AS pending
  )
$$;

-- queue_locks: the transactions that hold a lock to write on the queue, or on the tables of held messages.
CREATE OR REPLACE FUNCTION "{schema}".queue_locks() RETURNS SETOF text
LANGUAGE sql VOLATILE AS $$
  SELECT DISTINCT virtualtransaction FROM pg_locks
  WHERE locktype = 'relation' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND relation IN (
      SELECT relid FROM pg_partition_tree("{messages_oid}")
      -- The shards of a node of a cluster.
      UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = "{messages_oid}"
      UNION ALL SELECT '"{schema}".held_messages'::regclass
      UNION ALL SELECT "{messages_oid}"
    )
$$;

-- writers_before: the transactions that may not have seen what was committed before this transaction id: they hold a
-- lock on the queue, or have an older snapshot in this database. The names are those of pg_locks: virtual transaction
-- ids. backend_xmin has the last 32 bits of a transaction id.
CREATE OR REPLACE FUNCTION "{schema}".writers_before(of_xid xid8) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  low_bits CONSTANT bigint := of_xid::text::bigint & 4294967295;
BEGIN
  RETURN ARRAY(
    SELECT * FROM "{schema}".queue_locks()
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

-- still_running: the transactions of the list that have not ended. A restart of the server gives a prepared transaction
-- another name, -1/ and its transaction id. So if one of the list has disappeared, all prepared transactions that lock
-- the queue are added.
CREATE OR REPLACE FUNCTION "{schema}".still_running(transactions text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  running text[] := ARRAY(
    SELECT name FROM unnest(transactions) AS name WHERE name IN (SELECT virtualtransaction FROM pg_locks)
  );
BEGIN
  IF EXISTS (SELECT FROM unnest(transactions) AS name WHERE name <> ALL (running) AND name NOT LIKE '-1/%') THEN
    running := ARRAY(
      SELECT unnest(running) UNION SELECT name FROM "{schema}".queue_locks() AS name WHERE name LIKE '-1/%'
    );
  END IF;
  RETURN running;
END
$$;

-- names_of: up to three of these transactions by the names that an operator knows: process ids, or names of prepared
-- transactions.
CREATE OR REPLACE FUNCTION "{schema}".names_of(transactions text[]) RETURNS text
LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(string_agg(name, ', '), 'a transaction that is ending') FROM (
    SELECT DISTINCT coalesce('process ' || lock.pid, 'prepared transaction ' || quote_literal(prepared.gid))
    FROM pg_locks AS lock
      LEFT JOIN pg_prepared_xacts AS prepared
        ON lock.locktype = 'transactionid' AND lock.transactionid = prepared.transaction
    WHERE lock.virtualtransaction = ANY (transactions) AND coalesce(lock.pid::text, prepared.gid) IS NOT NULL
    LIMIT 3
  ) AS blocker (name)
$$;

-- lockers_of: the transactions that have locked messages of the chunk that a job has left, as names_of.
CREATE OR REPLACE FUNCTION "{schema}".lockers_of(of_job bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $queuestats$
<<own>>
DECLARE
  chunk "{schema}".job_chunks;
BEGIN
  SELECT * INTO chunk FROM "{schema}".job_chunks WHERE job_id = of_job ORDER BY number DESC LIMIT 1;
  RETURN format('%s locked messages', cardinality(chunk.ids)) || coalesce(': ' || "{schema}".names_of(ARRAY(
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'transactionid' AND granted AND transactionid IN (
      SELECT queuestats_row.xmax FROM "{messages}" AS queuestats_row
      WHERE queuestats_row.ctid = ANY (own.chunk.addresses)
    )
  )), '');
END
$queuestats$;

REVOKE EXECUTE ON FUNCTION "{schema}".advance_job(bigint, bigint), "{schema}".step_job(bigint, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".next_job(boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".postpone_job(bigint, text, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".has_pending_deltas(bigint), "{schema}".queue_locks() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".writers_before(xid8), "{schema}".still_running(text[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".names_of(text[]), "{schema}".lockers_of(bigint) FROM PUBLIC;
