-- preview_job: the effect of a release or a purge: the number of messages that a release would change (NULL for
-- a purge), and the numbers of holds and their messages that would stay because the token may not end these holds.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".preview_job(
  of_action text, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint,
  by_senders bigint[], by_accounts bigint[]
) RETURNS TABLE (releasable bigint, left_holds bigint, left_messages bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  job "{schema}".jobs;
  ended bigint[] := '{}';
  others bigint[] := '{}';
BEGIN
  SELECT of_action, of_sender, of_account, of_campaign, of_isp, by_senders, by_accounts
  INTO job.action, job.sender_id, job.account_id, job.campaign_id, job.isp, job.sender_limits, job.account_limits;
  IF of_action = 'release' THEN
    SELECT * INTO ended, others
    FROM "{schema}".divide_holds(of_sender, of_account, of_campaign, of_isp, of_hold, by_senders, by_accounts);
    releasable := "{schema}".count_releasable(of_sender, of_account, of_campaign, of_isp, of_hold, ended);
  END IF;
  left_holds := cardinality(others);
  left_messages := "{schema}".count_left(job, others);
  RETURN NEXT;
END
$$;

-- may_end: whether a token with these limits may end a hold, or purge its messages: the limits of the hold's maker are
-- the same or narrower. Inlined by the planner.
CREATE OR REPLACE FUNCTION "{schema}".may_end(hold "{schema}".holds, by_senders bigint[], by_accounts bigint[])
RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(
    (by_senders IS NULL OR hold.sender_limits <@ by_senders)
    AND (by_accounts IS NULL OR hold.account_limits <@ by_accounts),
    false
  )
$$;

-- divide_holds: the active hold of_hold of a sender or, if that is NULL, the holds whose filter is this one or
-- narrower. endable: those that a token with these limits may end.
DROP FUNCTION IF EXISTS "{schema}".holds_within(bigint, bigint, bigint, text, bigint);
CREATE OR REPLACE FUNCTION "{schema}".divide_holds(
  of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint,
  by_senders bigint[], by_accounts bigint[]
) RETURNS TABLE (endable bigint[], others bigint[])
LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT
    coalesce(array_agg(hold.id) FILTER (WHERE "{schema}".may_end(hold, by_senders, by_accounts)), '{}'),
    coalesce(array_agg(hold.id) FILTER (WHERE NOT "{schema}".may_end(hold, by_senders, by_accounts)), '{}')
  FROM "{schema}".holds AS hold
  WHERE sender_id = of_sender AND CASE
      WHEN of_hold IS NOT NULL THEN id = of_hold
      ELSE (of_account IS NULL OR account_id = of_account)
        AND (of_campaign IS NULL OR campaign_id = of_campaign) AND (of_isp IS NULL OR isp = of_isp)
    END
$$;

-- count_left: how many messages a release or a purge leaves on hold because the token may not end their holds.
CREATE OR REPLACE FUNCTION "{schema}".count_left(job "{schema}".jobs, left_holds bigint[]) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $queuestats$
BEGIN
  IF job.action = 'release' THEN
    RETURN (
      SELECT count(*) FROM "{schema}".held_messages
      WHERE sender_id = job.sender_id AND hold_id = ANY (count_left.left_holds)
    );
  ELSIF job.action <> 'purge' OR coalesce(job.sender_limits, job.account_limits) IS NULL THEN
    RETURN 0;
  END IF;
  RETURN (
    SELECT count(*) FROM "{schema}".messages_of(ARRAY[job.sender_id]) AS message
      INNER JOIN "{schema}".held_messages AS held USING (sender_id, id)
      INNER JOIN "{schema}".holds AS hold ON hold.id = held.hold_id
    WHERE message.status = 'hold' AND (job.account_id IS NULL OR message.account_id = job.account_id)
      AND (job.campaign_id IS NULL OR message.campaign_id = job.campaign_id)
      AND (job.isp IS NULL OR message.isp = job.isp)
      AND NOT "{schema}".may_end(hold, job.sender_limits, job.account_limits)
  );
END
$queuestats$;

-- count_for: the number of messages that a job would change, for a release from the messages on hold, otherwise from
-- the counters. NULL if the counters do not include all messages.
CREATE OR REPLACE FUNCTION "{schema}".count_for(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $queuestats$
BEGIN
  IF job.action = 'release' THEN
    RETURN "{schema}".count_releasable(
      job.sender_id, job.account_id, job.campaign_id, job.isp, job.hold_id, job.ended_holds
    );
  ELSIF NOT "{schema}".is_proven() THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT coalesce(sum(CASE job.action WHEN 'hold' THEN new + retry ELSE new + proc + retry + hold END), 0)
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
  ) - job.left_messages;
END
$queuestats$;

-- count_releasable: how many messages a release gives back after these holds have ended: the messages that they hold
-- and that no other hold matches. A release by filter (of_hold is NULL) also gives back messages that are on hold under
-- no active hold.
CREATE OR REPLACE FUNCTION "{schema}".count_releasable(
  of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_hold bigint, ended bigint[]
) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $queuestats$
BEGIN
  RETURN (
    SELECT count(*)
    FROM "{schema}".messages_of(ARRAY[of_sender]) AS message
      LEFT JOIN "{schema}".held_messages AS held ON held.sender_id = of_sender AND held.id = message.id
    WHERE message.status = 'hold'
      AND (
        held.hold_id = ANY (ended)
        OR of_hold IS NULL
        AND (of_account IS NULL OR message.account_id = of_account)
        AND (of_campaign IS NULL OR message.campaign_id = of_campaign)
        AND (of_isp IS NULL OR message.isp = of_isp)
        AND NOT EXISTS (SELECT FROM "{schema}".holds WHERE id = held.hold_id)
      )
      AND NOT EXISTS (
        SELECT FROM "{schema}".holds_of(of_sender, message.account_id, message.campaign_id, message.isp) AS other
        WHERE other.id <> ALL (ended)
      )
  );
END
$queuestats$;

-- count_collected: how many messages that a release has collected match no other hold.
CREATE OR REPLACE FUNCTION "{schema}".count_collected(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $queuestats$
BEGIN
  RETURN (
    SELECT count(*)
    FROM "{schema}".messages_of(ARRAY[job.sender_id]) AS message
    WHERE message.id IN (SELECT unnest(ids) FROM "{schema}".job_chunks WHERE job_id = job.id)
      AND NOT EXISTS (
        SELECT FROM "{schema}".holds_of(job.sender_id, message.account_id, message.campaign_id, message.isp)
      )
  );
END
$queuestats$;

REVOKE EXECUTE ON FUNCTION
"{schema}".preview_job(text, bigint, bigint, bigint, text, bigint, bigint[], bigint[]),
"{schema}".divide_holds(bigint, bigint, bigint, text, bigint, bigint[], bigint[]),
"{schema}".may_end("{schema}".holds, bigint[], bigint[]),
"{schema}".count_for("{schema}".jobs), "{schema}".count_left("{schema}".jobs, bigint[]),
"{schema}".count_releasable(bigint, bigint, bigint, text, bigint, bigint[]),
"{schema}".count_collected("{schema}".jobs) FROM PUBLIC;
