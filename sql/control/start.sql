-- start_job: begins a hold, a release or a purge. The hold is active, or ended, when this commits; step_job does the
-- rest.
-- A filter that is NULL lets every message of the sender through.
-- A release ends the holds whose filter is its own or narrower.
CREATE OR REPLACE FUNCTION queuestats.start_job(
  of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text,
  by_token text, of_request text, of_reason text, expires_in interval
) RETURNS TABLE (job_id bigint, hold_id bigint)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF queuestats.is_distributed() THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'a distributed queue is held and purged by UPDATE and DELETE of messages';
  END IF;
  IF of_action <> 'purge' AND NOT queuestats.is_holdable() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS400', MESSAGE = 'the mapping of this queue does not say how a status is written';
  END IF;
  IF of_action = 'hold' THEN
    INSERT INTO queuestats.holds (sender_id, account_id, campaign_id, isp, reason, created_by, expires_at)
    VALUES (of_sender, of_account, of_campaign, of_isp, of_reason, by_token, now() + expires_in)
    RETURNING id INTO hold_id;
  ELSIF of_action = 'release' THEN
    DELETE FROM queuestats.holds
    WHERE sender_id = of_sender AND (of_account IS NULL OR account_id = of_account)
      AND (of_campaign IS NULL OR campaign_id = of_campaign) AND (of_isp IS NULL OR isp = of_isp);
  END IF;
  INSERT INTO queuestats.jobs
    (action, sender_id, account_id, campaign_id, isp, hold_id, requested_by, request_id)
  VALUES (of_action, of_sender, of_account, of_campaign, of_isp, hold_id, by_token, of_request)
  RETURNING id INTO job_id;
  INSERT INTO queuestats.audit_log
    (action, sender_id, account_id, campaign_id, isp, token_name, request_id, reason, hold_id, job_id)
  VALUES (of_action, of_sender, of_account, of_campaign, of_isp, by_token, of_request, of_reason, hold_id, job_id);
  RETURN NEXT;
END
$$;

-- expire_holds: begins a release for each hold whose time is over; each exactly once, whoever calls. How many.
CREATE OR REPLACE FUNCTION queuestats.expire_holds() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired queuestats.holds;
  count integer := 0;
BEGIN
  FOR expired IN
    DELETE FROM queuestats.holds WHERE id IN (
      SELECT id FROM queuestats.holds WHERE expires_at <= now() FOR UPDATE SKIP LOCKED
    ) RETURNING *
  LOOP
    count := count + 1;
    WITH job AS (
      INSERT INTO queuestats.jobs
        (action, sender_id, account_id, campaign_id, isp, hold_id, requested_by, request_id)
      VALUES ('release', expired.sender_id, expired.account_id, expired.campaign_id, expired.isp, expired.id,
              'expiry', '')
      RETURNING id
    )
    INSERT INTO queuestats.audit_log
      (action, sender_id, account_id, campaign_id, isp, token_name, request_id, reason, hold_id, job_id)
    SELECT 'expire', expired.sender_id, expired.account_id, expired.campaign_id, expired.isp, expired.created_by, '',
           expired.reason, expired.id, job.id
    FROM job;
  END LOOP;
  RETURN count;
END
$$;

-- cancel_job: what it has changed stays, a hold stays active. False where it has ended before.
CREATE OR REPLACE FUNCTION queuestats.cancel_job(of_job bigint, by_token text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  job queuestats.jobs;
BEGIN
  UPDATE queuestats.jobs SET state = 'cancelled', finished_at = now()
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM queuestats.job_chunks WHERE job_id = of_job;
  INSERT INTO queuestats.audit_log
    (action, sender_id, account_id, campaign_id, isp, token_name, request_id, hold_id, job_id, messages)
  VALUES ('cancel', job.sender_id, job.account_id, job.campaign_id, job.isp, by_token, '', job.hold_id, job.id,
          job.changed);
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION
queuestats.start_job(text, bigint, bigint, bigint, text, text, text, text, interval),
queuestats.expire_holds(), queuestats.cancel_job(bigint, text) FROM PUBLIC;
