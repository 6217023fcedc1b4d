-- step_job: does the next piece of a job (NULL: of the oldest one that nobody is at). It writes down what is to be
-- changed, or changes one chunk. No row where there is none.
-- is_waiting: the job can't go on for the moment. Messages are locked, transactions that have not seen the hold are
-- open, or too many deltas are pending.
--
-- waiting -> working -> settling -> done. When it is settling, all that matched at its start is done. What transactions
-- that had not seen the hold, or its end, have written meanwhile is collected once more when they are over.
-- One step is one transaction: a crash takes back a step, and the next caller does it again.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".step_job(of_job bigint DEFAULT NULL, most_pending bigint DEFAULT 20000)
RETURNS TABLE (
  job_id bigint, action text, state text, matched bigint, changed bigint, newly_changed bigint, is_waiting boolean
)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  job "{schema}".jobs;
  chunk "{schema}".job_chunks;
  done record;
BEGIN
  SELECT * INTO job FROM "{schema}".jobs
  WHERE finished_at IS NULL AND (of_job IS NULL OR id = of_job)
  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  is_waiting := false;
  newly_changed := 0;

  IF job.state = 'waiting' THEN
    job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
    job.matched := "{schema}".collect_job(job);
    job.state := 'working';
  ELSIF job.state = 'settling' THEN
    IF pg_snapshot_xmin(pg_current_snapshot()) >= job.settles_at THEN
      job.matched := job.matched + "{schema}".collect_job(job);
      job.settles_at := NULL;
      job.state := 'working';
    ELSE
      is_waiting := true;
    END IF;
  ELSIF (
    SELECT count(*) FROM (
      SELECT FROM "{schema}".deltas
      WHERE xid >= coalesce((SELECT watermark FROM "{schema}".trusted_watermarks WHERE sender_id = 0), '0')
        AND xid >= '0'
      LIMIT most_pending
    ) AS pending
  ) >= most_pending THEN
    is_waiting := true;
  ELSE
    SELECT * INTO chunk FROM "{schema}".job_chunks WHERE job_id = job.id ORDER BY number LIMIT 1;
    IF FOUND THEN
      done := "{schema}".change_chunk(job, chunk);
      newly_changed := done.changed;
      job.changed := job.changed + done.changed;
      is_waiting := done.has_left_some AND done.changed = 0;
      DELETE FROM "{schema}".job_chunks WHERE job_id = job.id AND number = chunk.number;
    ELSIF job.settles_at IS NOT NULL AND job.action <> 'purge' THEN
      -- A job with at_most collects its messages before other transactions see its hold, or the end of a hold.
      job.settles_at := pg_snapshot_xmax(pg_current_snapshot());
      job.state := 'settling';
    ELSE
      job.state := 'done';
      job.finished_at := now();
      INSERT INTO "{schema}".audit_log
        (action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, hold_id, job_id, messages)
      VALUES ('finish', job.sender_id, job.account_id, job.campaign_id, job.isp, job.requested_by_kind,
              job.requested_by, job.request_id, job.hold_id, job.id, job.changed);
    END IF;
  END IF;

  UPDATE "{schema}".jobs SET
    state = job.state, matched = job.matched, changed = job.changed, settles_at = job.settles_at,
    finished_at = job.finished_at
  WHERE id = job.id;
  RETURN QUERY SELECT job.id, job.action, job.state, job.matched, job.changed, newly_changed, is_waiting;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".step_job(bigint, bigint) FROM PUBLIC;
