-- collect_job: writes down the messages that a job has to change, some thousands a chunk. How many.
CREATE OR REPLACE FUNCTION queuestats.collect_job(job queuestats.jobs) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '64MB'
SET row_security = off AS $$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  matched bigint;
BEGIN
  WITH matching AS (
    SELECT id, (row_number() OVER () - 1) / chunk_rows AS number
    FROM public.messages
    WHERE sender_id = job.sender_id
      AND (job.action = 'purge' OR job.action = 'hold' AND status IN ('new', 'retry')
        OR job.action = 'release' AND status = 'hold')
      AND (job.account_id IS NULL OR account_id = job.account_id)
      AND (job.campaign_id IS NULL OR campaign_id = job.campaign_id)
      AND (job.isp IS NULL OR isp = job.isp)
  ), written AS (
    INSERT INTO queuestats.job_chunks (job_id, number, ids)
    SELECT job.id, number, array_agg(id) FROM matching GROUP BY number
    RETURNING cardinality(ids) AS messages
  )
  SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  RETURN matched;
END
$$;

-- change_chunk: holds, releases or purges these messages, as far as they still match and nobody else has them locked.
-- How many; and which of them are left, as they are locked.
CREATE OR REPLACE FUNCTION queuestats.change_chunk(
  job queuestats.jobs, ids bigint[], OUT changed bigint, OUT locked bigint[]
)
LANGUAGE plpgsql SET search_path = pg_catalog,
pg_temp SET plan_cache_mode = force_custom_plan SET row_security = off AS $$
#variable_conflict use_column
DECLARE
  free bigint[];
BEGIN
  SELECT array_agg(id) INTO free FROM (
    SELECT id FROM public.messages
    WHERE id = ANY (ids) AND sender_id = job.sender_id
      AND CASE job.action WHEN 'hold' THEN status IN ('new', 'retry') WHEN 'release' THEN status = 'hold' ELSE true END
      AND (job.account_id IS NULL OR account_id = job.account_id)
      AND (job.campaign_id IS NULL OR campaign_id = job.campaign_id)
      AND (job.isp IS NULL OR isp = job.isp)
      AND (job.action <> 'release' OR NOT EXISTS (
        SELECT FROM queuestats.holds
        WHERE holds.sender_id = messages.sender_id
          AND (holds.account_id IS NULL OR holds.account_id = messages.account_id)
          AND (holds.campaign_id IS NULL OR holds.campaign_id = messages.campaign_id)
          AND (holds.isp IS NULL OR holds.isp = messages.isp)
      ))
    FOR UPDATE SKIP LOCKED
  ) AS unlocked;

  IF job.action = 'hold' THEN
    INSERT INTO queuestats.held_messages (sender_id, id, former_status)
    SELECT sender_id, id, status FROM public.messages WHERE id = ANY (free) AND sender_id = job.sender_id
    ON CONFLICT (sender_id, id) DO UPDATE SET former_status = excluded.former_status;
    UPDATE public.messages SET status = 'hold' WHERE id = ANY (free) AND sender_id = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- What was put on hold by other means is new again; an expired hold leaves it.
    WITH former AS (
      DELETE FROM queuestats.held_messages WHERE sender_id = job.sender_id AND id = ANY (free)
      RETURNING id, former_status
    )
    UPDATE public.messages SET status = released.status
    FROM (
      SELECT id, coalesce(former_status, 'new') AS status
      FROM unnest(free) AS of_chunk (id) LEFT JOIN former USING (id)
      WHERE former_status IS NOT NULL OR job.requested_by <> 'expiry'
    ) AS released
    WHERE messages.id = released.id AND messages.sender_id = job.sender_id;
  ELSE
    DELETE FROM queuestats.held_messages WHERE sender_id = job.sender_id AND id = ANY (free);
    DELETE FROM public.messages WHERE id = ANY (free) AND sender_id = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;

  SELECT array_agg(id) INTO locked FROM (
    SELECT id FROM public.messages
    WHERE id = ANY (ids) AND sender_id = job.sender_id AND (free IS NULL OR id <> ALL (free))
      AND CASE job.action WHEN 'hold' THEN status IN ('new', 'retry') WHEN 'release' THEN false ELSE true END
      AND (job.account_id IS NULL OR account_id = job.account_id)
      AND (job.campaign_id IS NULL OR campaign_id = job.campaign_id)
      AND (job.isp IS NULL OR isp = job.isp)
  ) AS still;
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
      done := queuestats.change_chunk(job, chunk.ids);
      newly_changed := done.changed;
      job.changed := job.changed + done.changed;
      is_waiting := done.locked IS NOT NULL AND done.changed = 0;
      DELETE FROM queuestats.job_chunks WHERE job_id = job.id AND number = chunk.number;
      IF done.locked IS NOT NULL THEN
        -- Behind all others: whoever has them locked is given time.
        INSERT INTO queuestats.job_chunks (job_id, number, ids)
        SELECT job.id, max(number) + 1, done.locked
        FROM (
          SELECT chunk.number UNION ALL SELECT number FROM queuestats.job_chunks WHERE job_id = job.id
        ) AS taken (number);
      END IF;
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
REVOKE EXECUTE ON FUNCTION queuestats.change_chunk(queuestats.jobs, bigint[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION queuestats.step_job(bigint, bigint) FROM PUBLIC;
