-- begin_job: begins a hold, a release or a purge. The hold is active, or ended, when this transaction commits;
-- advance_job does the rest.
-- A NULL filter matches every message of the sender.
-- A release ends the holds whose filter is its own or narrower. With of_hold it ends that hold and uses its filter.
-- at_most: if more messages match, the call is an error and changes nothing. Up to 100,000 messages are collected in
-- this transaction, so that the job changes only messages that were counted. Above that, the counters give the number.
-- by_kind, by_name: the actor: a token, or a command and the user who runs it. by_senders, by_accounts: the limits of
-- the token; NULL: no limit. most_holds, most_jobs: the most active holds and open jobs of this token.
-- places: schema
DROP FUNCTION IF EXISTS "{schema}".start_job(text, bigint, bigint, bigint, text, text, text, text, interval);
CREATE OR REPLACE FUNCTION "{schema}".begin_job(
  of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text,
  by_name text, of_request text, of_reason text, expires_in interval,
  by_kind text, at_most bigint, of_hold bigint, by_senders bigint[], by_accounts bigint[],
  most_holds bigint, most_jobs bigint
) RETURNS TABLE (job_id bigint, hold_id bigint)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  job "{schema}".jobs;
  ended bigint[] := '{}';
  left_holds bigint[] := '{}';
  counted bigint;
BEGIN
  PERFORM "{schema}".require_here(of_sender);
  PERFORM "{schema}".require_possible(of_action, ARRAY[of_sender, of_account, of_campaign]);
  PERFORM "{schema}".require_share(of_action, by_kind, by_name, most_holds, most_jobs);
  IF of_action = 'hold' THEN
    INSERT INTO "{schema}".holds (
      sender_id, account_id, campaign_id, isp, reason, created_by_kind, created_by, expires_at, sender_limits,
      account_limits
    ) VALUES (
      of_sender, of_account, of_campaign, of_isp, of_reason, by_kind, by_name, now() + expires_in, by_senders,
      by_accounts
    ) RETURNING id INTO of_hold;
  ELSIF of_action = 'release' THEN
    IF of_hold IS NOT NULL THEN
      SELECT account_id, campaign_id, isp INTO of_account, of_campaign, of_isp FROM "{schema}".holds WHERE id = of_hold;
    END IF;
    SELECT * INTO ended, left_holds
    FROM "{schema}".divide_holds(of_sender, of_account, of_campaign, of_isp, of_hold, by_senders, by_accounts);
    IF of_hold IS NOT NULL AND ended || left_holds = '{}' THEN
      RAISE EXCEPTION USING
        ERRCODE = 'QS400', MESSAGE = 'hold_id must be the id of an active hold of this sender';
    ELSIF of_hold IS NOT NULL AND ended = '{}' THEN
      RAISE EXCEPTION USING ERRCODE = 'QS403', MESSAGE = 'the maker of the hold is less limited than this token';
    END IF;
  END IF;
  -- Another release, or the expiry, may have ended some of them first.
  WITH deleted AS (
    DELETE FROM "{schema}".holds WHERE id = ANY (ended) RETURNING id
  )
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO ended FROM deleted;
  INSERT INTO "{schema}".jobs (
    action, sender_id, account_id, campaign_id, isp, hold_id, ended_holds, left_holds, sender_limits, account_limits,
    requested_by_kind, requested_by, request_id
  ) VALUES (
    of_action, of_sender, of_account, of_campaign, of_isp, of_hold, ended, cardinality(left_holds), by_senders,
    by_accounts, by_kind, by_name, of_request
  ) RETURNING * INTO job;
  job.left_messages := "{schema}".count_left(job, left_holds);
  IF at_most IS NOT NULL THEN
    counted := "{schema}".count_for(job);
    IF counted <= at_most AND counted <= 100000 OR counted IS NULL THEN
      job.matched := 0;
      counted := "{schema}".collect_job(job);
      IF job.action = 'release' AND counted > at_most THEN
        counted := "{schema}".count_collected(job);
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
  UPDATE "{schema}".jobs SET
    state = job.state, matched = job.matched, settles_at = job.settles_at, left_messages = job.left_messages
  WHERE id = job.id;
  PERFORM "{schema}".log_job(job, of_action, of_reason);
  RETURN QUERY SELECT job.id, of_hold;
END
$$;

-- start_job: begin_job for services of the previous release, whose tokens have no limits for holds and no budget.
CREATE OR REPLACE FUNCTION "{schema}".start_job(
  of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text,
  by_name text, of_request text, of_reason text, expires_in interval,
  by_kind text DEFAULT 'token', at_most bigint DEFAULT NULL, of_hold bigint DEFAULT NULL
) RETURNS TABLE (job_id bigint, hold_id bigint)
LANGUAGE sql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM "{schema}".begin_job(
      of_action, of_sender, of_account, of_campaign, of_isp, by_name, of_request, of_reason, expires_in, by_kind,
      at_most, of_hold, NULL, NULL, NULL, NULL
    )
$$;

-- away: why the holds and jobs of a sender can't be changed on this server now; NULL: they can, until the transaction
-- ends. sql/citus/control.sql replaces it on a node of a cluster, whose shards may move.
CREATE OR REPLACE FUNCTION "{schema}".away(of_sender bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT CAST(NULL AS text) $$;

-- require_here: raises QS409 if the holds and jobs of a sender can't be changed on this server now.
CREATE OR REPLACE FUNCTION "{schema}".require_here(of_sender bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF "{schema}".away(of_sender) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'its shard is moving';
  END IF;
END
$$;

-- require_possible: raises QS400 if this action can't be done on this queue, or not with these keys.
CREATE OR REPLACE FUNCTION "{schema}".require_possible(of_action text, keys bigint[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF "{schema}".is_distributed() THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'a distributed queue is held and purged by UPDATE and DELETE of messages';
  END IF;
  IF of_action <> 'purge' AND NOT "{schema}".is_holdable() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS400', MESSAGE = 'the mapping does not define how a status is written';
  END IF;
  -- If two texts have the same number, the second has the negative number as its id: sql/adopt/names.sql.
  IF of_action <> 'release' AND EXISTS (
    SELECT FROM "{schema}".keys AS key WHERE key.id IN (SELECT -number FROM unnest(keys) AS number)
  ) THEN
    RAISE EXCEPTION USING
      ERRCODE = 'QS400', MESSAGE = 'two keys of the queue have this number, and the call would act on both';
  END IF;
END
$$;

-- require_share: raises QS429 if the token has reached its limit of active holds, QS430 if it has reached its limit of
-- open jobs. NULL: no limit. The lock on the token's name makes concurrent calls of a token count one after the other.
CREATE OR REPLACE FUNCTION "{schema}".require_share(
  of_action text, by_kind text, by_name text, most_holds bigint, most_jobs bigint
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF by_kind <> 'token' OR coalesce(most_holds, most_jobs) IS NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock('"{schema}".holds'::regclass::oid::integer, hashtext(by_name));
  IF of_action = 'hold' AND most_holds <= (
    SELECT count(*) FROM "{schema}".holds WHERE created_by_kind = 'token' AND created_by = by_name
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS429', MESSAGE = format('this token has %s active holds', most_holds);
  END IF;
  IF most_jobs <= (
    SELECT count(*) FROM "{schema}".jobs
    WHERE finished_at IS NULL AND requested_by_kind = 'token' AND requested_by = by_name
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS430', MESSAGE = format('this token has %s open jobs', most_jobs);
  END IF;
END
$$;

-- log_job: writes an entry of the audit log: the call that began a job, or the result of the job.
CREATE OR REPLACE FUNCTION "{schema}".log_job(job "{schema}".jobs, of_action text, of_reason text DEFAULT '')
RETURNS void
LANGUAGE sql AS $$
  INSERT INTO "{schema}".audit_log (
    action, sender_id, account_id, campaign_id, isp, actor_kind, actor_name, request_id, reason, hold_id, job_id,
    hold_ids, messages
  ) VALUES (
    of_action, job.sender_id, job.account_id, job.campaign_id, job.isp, job.requested_by_kind, job.requested_by,
    job.request_id, of_reason, job.hold_id, job.id, CASE WHEN job.finished_at IS NULL THEN job.ended_holds END,
    CASE WHEN job.finished_at IS NOT NULL THEN job.changed END
  )
$$;

-- expire_holds: begins a release for each expired hold, once for each hold, also if several sessions call it. Returns
-- how many.
CREATE OR REPLACE FUNCTION "{schema}".expire_holds() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  count integer;
BEGIN
  WITH expired AS (
    DELETE FROM "{schema}".holds WHERE id IN (
      SELECT id FROM "{schema}".holds WHERE expires_at <= now() AND "{schema}".away(sender_id) IS NULL
      ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ) RETURNING *
  ), begun AS (
    INSERT INTO "{schema}".jobs AS job (
      action, sender_id, account_id, campaign_id, isp, hold_id, ended_holds, requested_by_kind, requested_by, request_id
    )
    SELECT 'release', sender_id, account_id, campaign_id, isp, id, ARRAY[id], 'expiry', 'expiry', '' FROM expired
    RETURNING job, hold_id
  )
  SELECT count(*) INTO count
  FROM expired
    INNER JOIN begun ON begun.hold_id = expired.id
    CROSS JOIN LATERAL "{schema}".log_job(begun.job, 'expire', expired.reason);
  RETURN count;
END
$$;

-- cancel_job: ends a job. Changed messages stay changed, and a hold stays active. False if the job has ended before.
DROP FUNCTION IF EXISTS "{schema}".cancel_job(bigint, text);
CREATE OR REPLACE FUNCTION "{schema}".cancel_job(of_job bigint, by_name text, by_kind text DEFAULT 'token')
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  job "{schema}".jobs;
BEGIN
  PERFORM "{schema}".require_here(sender_id) FROM "{schema}".jobs WHERE id = of_job AND finished_at IS NULL;
  UPDATE "{schema}".jobs SET state = 'cancelled', finished_at = now()
  WHERE id = of_job AND finished_at IS NULL RETURNING * INTO job;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM "{schema}".job_chunks WHERE job_id = of_job;
  -- The actor of this entry is the one that cancels.
  SELECT by_kind, by_name, '' INTO job.requested_by_kind, job.requested_by, job.request_id;
  PERFORM "{schema}".log_job(job, 'cancel');
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION
"{schema}".begin_job(
  text, bigint, bigint, bigint, text, text, text, text, interval, text, bigint, bigint, bigint[], bigint[], bigint,
  bigint
),
"{schema}".start_job(text, bigint, bigint, bigint, text, text, text, text, interval, text, bigint, bigint),
"{schema}".expire_holds(), "{schema}".cancel_job(bigint, text, text), "{schema}".require_possible(text, bigint[]),
"{schema}".away(bigint), "{schema}".require_here(bigint),
"{schema}".require_share(text, text, text, bigint, bigint), "{schema}".log_job("{schema}".jobs, text, text) FROM PUBLIC;
