-- start_job: begins a hold, a release or a purge. The hold is active, or ended, when this commits; step_job does the
-- rest.
-- A filter that is NULL lets every message of the sender through.
-- A release ends the holds whose filter is its own or narrower. With of_hold it ends that hold and uses its filter.
-- at_most: if more messages match, the call is an error and changes nothing. Up to 100,000 messages are collected in
-- this transaction, so that the job changes only messages that were counted. Above that, the counters give the number.
-- by_kind, by_name: the actor: a token, or a command and the user who runs it. A service of the previous release passes
-- neither by_kind nor the parameters after it.
-- places: schema
DROP FUNCTION IF EXISTS "{schema}".start_job(text, bigint, bigint, bigint, text, text, text, text, interval);
CREATE OR REPLACE FUNCTION "{schema}".start_job(
  of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text,
  by_name text, of_request text, of_reason text, expires_in interval,
  by_kind text DEFAULT 'token', at_most bigint DEFAULT NULL, of_hold bigint DEFAULT NULL
) RETURNS TABLE (job_id bigint, hold_id bigint)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  job "{schema}".jobs;
  counted bigint;
BEGIN
  IF "{schema}".is_distributed() THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'a distributed queue is held and purged by UPDATE and DELETE of messages';
  END IF;
  IF of_action <> 'purge' AND NOT "{schema}".is_holdable() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS400', MESSAGE = 'the mapping of this queue does not say how a status is written';
  END IF;
  -- The second text with a number has the negative number as its id: sql/adopt/names.sql.
  IF of_action <> 'release' AND EXISTS (
    SELECT FROM "{schema}".keys WHERE id IN (-of_sender, -of_account, -of_campaign)
  ) THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'two keys of the queue have this number, and the call would act on both';
  END IF;
  IF of_action = 'hold' THEN
    INSERT INTO "{schema}".holds
      (sender_id, account_id, campaign_id, isp, reason, created_by_kind, created_by, expires_at)
    VALUES (of_sender, of_account, of_campaign, of_isp, of_reason, by_kind, by_name, now() + expires_in)
    RETURNING id INTO of_hold;
  ELSIF of_action = 'release' AND of_hold IS NOT NULL THEN
    DELETE FROM "{schema}".holds WHERE id = of_hold AND sender_id = of_sender
    RETURNING account_id, campaign_id, isp INTO of_account, of_campaign, of_isp;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS400', MESSAGE = 'hold_id must be the id of an active hold of this sender';
    END IF;
  ELSIF of_action = 'release' THEN
    DELETE FROM "{schema}".holds
    WHERE sender_id = of_sender AND (of_account IS NULL OR account_id = of_account)
      AND (of_campaign IS NULL OR campaign_id = of_campaign) AND (of_isp IS NULL OR isp = of_isp);
  END IF;
  INSERT INTO "{schema}".jobs
    (action, sender_id, account_id, campaign_id, isp, hold_id, requested_by_kind, requested_by, request_id)
  VALUES (of_action, of_sender, of_account, of_campaign, of_isp, of_hold, by_kind, by_name, of_request)
  RETURNING * INTO job;
  IF at_most IS NOT NULL THEN
    counted := "{schema}".count_for(job);
    IF counted <= at_most AND counted <= 100000 OR counted IS NULL THEN
      counted := "{schema}".collect_job(job);
      UPDATE "{schema}".jobs SET
        state = 'working', matched = counted, settles_at = pg_snapshot_xmax(pg_current_snapshot())
      WHERE id = job.id;
    END IF;
    IF counted > at_most THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS412', MESSAGE = format('%s messages match, more than at_most %s', counted, at_most);
    END IF;
    -- What a purge that is collected later removes at most: others may arrive before.
    UPDATE "{schema}".jobs SET matched = counted WHERE id = job.id AND action = 'purge';
  END IF;
  INSERT INTO "{schema}".audit_log
    (action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, reason, hold_id, job_id)
  VALUES (of_action, of_sender, of_account, of_campaign, of_isp, by_kind, by_name, of_request, of_reason, of_hold,
          job.id);
  RETURN QUERY SELECT job.id, of_hold;
END
$$;

-- count_for: the number of messages that a job would change, by the counters. NULL if the counters do not give it: they
-- do not include all messages, or a release leaves messages that other holds match.
CREATE OR REPLACE FUNCTION "{schema}".count_for(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT "{schema}".is_proven()
    OR job.action = 'release' AND EXISTS (SELECT FROM "{schema}".holds WHERE sender_id = job.sender_id) THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT coalesce(sum(CASE job.action
             WHEN 'hold' THEN new + retry WHEN 'release' THEN hold ELSE new + proc + retry + hold
           END), 0)
    FROM (
      SELECT new, proc, retry, hold
      FROM "{schema}".current_counters(
          job.sender_id,
          "{schema}".grouping_set_of(job.account_id IS NOT NULL, job.campaign_id IS NOT NULL, job.isp IS NOT NULL)
        )
      WHERE account_id >= 0 AND account_id = coalesce(job.account_id, 0)
        AND campaign_id = coalesce(job.campaign_id, 0) AND isp = coalesce(job.isp, '')
      UNION ALL
      SELECT new, proc, retry, hold
      FROM "{schema}".pending_deltas(job.sender_id, job.account_id, job.campaign_id, job.isp)
    ) AS part
  );
END
$$;

-- expire_holds: begins a release for each hold whose time is over; each exactly once, whoever calls. How many.
CREATE OR REPLACE FUNCTION "{schema}".expire_holds() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  expired "{schema}".holds;
  count integer := 0;
BEGIN
  FOR expired IN
    DELETE FROM "{schema}".holds WHERE id IN (
      SELECT id FROM "{schema}".holds WHERE expires_at <= now() FOR UPDATE SKIP LOCKED
    ) RETURNING *
  LOOP
    count := count + 1;
    WITH job AS (
      INSERT INTO "{schema}".jobs
        (action, sender_id, account_id, campaign_id, isp, hold_id, requested_by_kind, requested_by, request_id)
      VALUES ('release', expired.sender_id, expired.account_id, expired.campaign_id, expired.isp, expired.id,
              'expiry', 'expiry', '')
      RETURNING id
    )
    INSERT INTO "{schema}".audit_log
      (action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, reason, hold_id, job_id)
    SELECT 'expire', expired.sender_id, expired.account_id, expired.campaign_id, expired.isp, 'expiry', 'expiry', '',
           expired.reason, expired.id, job.id
    FROM job;
  END LOOP;
  RETURN count;
END
$$;

-- cancel_job: what it has changed stays, a hold stays active. False where it has ended before.
DROP FUNCTION IF EXISTS "{schema}".cancel_job(bigint, text);
CREATE OR REPLACE FUNCTION "{schema}".cancel_job(of_job bigint, by_name text, by_kind text DEFAULT 'token')
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  job "{schema}".jobs;
BEGIN
  UPDATE "{schema}".jobs SET state = 'cancelled', finished_at = now()
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM "{schema}".job_chunks WHERE job_id = of_job;
  INSERT INTO "{schema}".audit_log
    (action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, hold_id, job_id, messages)
  VALUES ('cancel', job.sender_id, job.account_id, job.campaign_id, job.isp, by_kind, by_name, '', job.hold_id, job.id,
          job.changed);
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".count_for("{schema}".jobs) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION
"{schema}".start_job(text, bigint, bigint, bigint, text, text, text, text, interval, text, bigint, bigint),
"{schema}".expire_holds(), "{schema}".cancel_job(bigint, text, text) FROM PUBLIC;
