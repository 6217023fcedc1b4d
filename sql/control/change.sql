-- is_for: whether a job has to change this message. It becomes a part of the plan that calls it.
CREATE OR REPLACE FUNCTION queuestats.is_for(job queuestats.jobs, message public.messages) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT message.sender_id = job.sender_id
    AND (job.account_id IS NULL OR message.account_id = job.account_id)
    AND (job.campaign_id IS NULL OR message.campaign_id = job.campaign_id)
    AND (job.isp IS NULL OR message.isp = job.isp)
    AND (job.action = 'purge' OR job.action = 'hold' AND message.status IN ('new', 'retry')
      OR job.action = 'release' AND message.status = 'hold')
$$;

-- collect_job: writes down the messages that a job has to change, some thousands a chunk. How many.
CREATE OR REPLACE FUNCTION queuestats.collect_job(job queuestats.jobs) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '64MB'
SET row_security = off SET jit = off AS $$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  matched bigint;
BEGIN
  WITH matching AS (
    SELECT id, ctid, (row_number() OVER () - 1) / chunk_rows AS number
    FROM public.messages WHERE queuestats.is_for(job, messages)
  ), written AS (
    INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
    SELECT job.id, number, array_agg(id), array_agg(ctid) FROM matching GROUP BY number
    RETURNING cardinality(ids) AS messages
  )
  SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  RETURN matched;
END
$$;

-- change_chunk: holds, releases or purges the messages of a chunk, as far as they still match and nobody else has them
-- locked. How many; and whether some are left, which are written down as another chunk.
-- Messages are read by their address, and known by their id: another message may stand there by now, and in each
-- partition stands one.
-- The settings keep statistics out of the plans: reads by address and by index, joins by hash table.
CREATE OR REPLACE FUNCTION queuestats.change_chunk(
  job queuestats.jobs, chunk queuestats.job_chunks, OUT changed bigint, OUT has_left_some boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET row_security = off AS $$
#variable_conflict use_column
DECLARE
  free_ids bigint[];
  free_addresses tid[];
  free queuestats.held_messages[];
BEGIN
  changed := 0;
  has_left_some := false;
  -- A hold that was released or has expired while its job went on. The release waits for this transaction and looks
  -- once more, so it finds what is held after this look.
  IF job.action = 'hold' AND NOT EXISTS (SELECT FROM queuestats.holds WHERE id = job.hold_id) THEN
    RETURN;
  END IF;

  SELECT array_agg(id), array_agg(ctid), array_agg(CAST((sender_id, id, status) AS queuestats.held_messages))
  INTO free_ids, free_addresses, free FROM (
    SELECT sender_id, id, ctid, status FROM public.messages
    WHERE ctid = ANY (chunk.addresses) AND id IN (SELECT unnest(chunk.ids)) AND queuestats.is_for(job, messages)
      AND (job.action <> 'release' OR NOT EXISTS (SELECT FROM queuestats.holds_of(messages)))
    FOR UPDATE OF messages SKIP LOCKED
  ) AS free;

  IF job.action = 'hold' THEN
    -- Rows of a former hold, whose messages were released by other means.
    DELETE FROM queuestats.held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    INSERT INTO queuestats.held_messages SELECT * FROM unnest(free);
    UPDATE public.messages SET status = 'hold'
    WHERE ctid = ANY (free_addresses) AND id IN (SELECT unnest(free_ids)) AND sender_id = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- What was put on hold by other means is new again; an expired hold leaves it.
    WITH held AS (
      DELETE FROM queuestats.held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids)
      RETURNING id, former_status
    )
    UPDATE public.messages SET status = coalesce(held.former_status, 'new')
    FROM unnest(free_ids) AS free (id) LEFT JOIN held USING (id)
    WHERE messages.ctid = ANY (free_addresses) AND messages.id = free.id AND messages.sender_id = job.sender_id
      AND (held.id IS NOT NULL OR job.requested_by <> 'expiry');
  ELSE
    DELETE FROM queuestats.held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    DELETE FROM public.messages
    WHERE ctid = ANY (free_addresses) AND id IN (SELECT unnest(free_ids)) AND sender_id = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;

  -- What is locked, or was moved by an update meanwhile. Behind all other chunks, so whoever locks it is given time.
  IF coalesce(cardinality(free_ids), 0) < cardinality(chunk.ids) THEN
    INSERT INTO queuestats.job_chunks (job_id, number, ids, addresses)
    SELECT
      job.id, (SELECT max(number) + 1 FROM queuestats.job_chunks WHERE job_id = job.id), array_agg(id), array_agg(ctid)
    FROM public.messages
    WHERE id = ANY (ARRAY(SELECT unnest(chunk.ids) EXCEPT SELECT unnest(free_ids))) AND queuestats.is_for(job, messages)
      AND (job.action <> 'release' OR NOT EXISTS (SELECT FROM queuestats.holds_of(messages)))
    HAVING count(*) > 0;
    has_left_some := FOUND;
  END IF;
END
$$;

-- step_job: does the next piece of a job (NULL: of the oldest one that nobody is at). It writes down what is to be
-- changed, or changes one chunk. No row where there is none.
-- is_waiting: the job can't go on for the moment. Messages are locked, transactions that have not seen the hold are
-- open, or too many deltas are pending.
--
-- waiting -> working -> settling -> done. When it is settling, all that matched at its start is done. What transactions
-- that had not seen the hold, or its end, have written meanwhile is collected once more when they are over.
-- One step is one transaction: a crash takes back a step, and the next caller does it again.
CREATE OR REPLACE FUNCTION queuestats.step_job(of_job bigint DEFAULT NULL, most_pending bigint DEFAULT 20000)
RETURNS TABLE (
  job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean
)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  job queuestats.jobs;
  chunk queuestats.job_chunks;
  done record;
BEGIN
  SELECT * INTO job FROM queuestats.jobs
  WHERE finished_at IS NULL AND (of_job IS NULL OR id = of_job)
  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  is_waiting := false;
  newly_changed := 0;

  IF job.state = 'waiting' THEN
    job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
    job.matched := queuestats.collect_job(job);
    job.state := 'working';
  ELSIF job.state = 'settling' THEN
    IF pg_snapshot_xmin(pg_current_snapshot()) >= job.settles_at THEN
      job.matched := job.matched + queuestats.collect_job(job);
      job.settles_at := NULL;
      job.state := 'working';
    ELSE
      is_waiting := true;
    END IF;
  ELSIF (
    SELECT count(*) FROM (
      SELECT FROM queuestats.deltas
      WHERE xid >= coalesce((SELECT watermark FROM queuestats.trusted_watermarks WHERE sender_id = 0), '0')
        AND xid >= '0'
      LIMIT most_pending
    ) AS pending
  ) >= most_pending THEN
    is_waiting := true;
  ELSE
    SELECT * INTO chunk FROM queuestats.job_chunks WHERE job_id = job.id ORDER BY number LIMIT 1;
    IF FOUND THEN
      done := queuestats.change_chunk(job, chunk);
      newly_changed := done.changed;
      job.changed := job.changed + done.changed;
      is_waiting := done.has_left_some AND done.changed = 0;
      DELETE FROM queuestats.job_chunks WHERE job_id = job.id AND number = chunk.number;
    ELSIF job.settles_at IS NOT NULL AND job.action <> 'purge' THEN
      job.state := 'settling';
    ELSE
      job.state := 'done';
      job.finished_at := now();
      INSERT INTO queuestats.audit_log
        (action, sender_id, account_id, campaign_id, isp, token_name, request_id, hold_id, job_id, messages)
      VALUES ('finish', job.sender_id, job.account_id, job.campaign_id, job.isp, job.requested_by, job.request_id,
              job.hold_id, job.id, job.changed);
    END IF;
  END IF;

  UPDATE queuestats.jobs SET
    state = job.state, matched = job.matched, changed = job.changed, settles_at = job.settles_at,
    finished_at = job.finished_at
  WHERE id = job.id;
  RETURN QUERY SELECT job.id, job.action, job.state, job.matched, job.changed, newly_changed, is_waiting;
END
$$;

REVOKE EXECUTE ON FUNCTION queuestats.collect_job(queuestats.jobs) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION queuestats.change_chunk(queuestats.jobs, queuestats.job_chunks) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION queuestats.is_for(queuestats.jobs, public.messages) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION queuestats.step_job(bigint, bigint) FROM PUBLIC;
