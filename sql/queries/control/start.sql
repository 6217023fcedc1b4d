-- start: begins a hold, a release or a purge; a NULL filter matches every message of the sender
-- at_most NULL: no limit. hold_id: the hold that a release ends, in place of a filter. sender_limits, account_limits:
-- the limits of the token; NULL: no limit. most_holds, most_jobs: the token's budget; NULL: no limit.
-- places: schema
-- parameters: action text, sender_id bigint, account_id bigint, campaign_id bigint, isp text, actor_kind text, actor_name text, request_id text, reason text, expires_in interval, at_most bigint, hold_id bigint, sender_limits bigint[], account_limits bigint[], most_holds bigint, most_jobs bigint
SELECT /* queries/control/start.sql */ job_id, hold_id
FROM "{schema}".begin_job(
    cast(:action AS text), cast(:sender_id AS bigint), cast(:account_id AS bigint), cast(:campaign_id AS bigint),
    cast(:isp AS text), cast(:actor_name AS text), cast(:request_id AS text), cast(:reason AS text),
    cast(:expires_in AS interval), cast(:actor_kind AS text), cast(:at_most AS bigint), cast(:hold_id AS bigint),
    cast(:sender_limits AS bigint[]), cast(:account_limits AS bigint[]), cast(:most_holds AS bigint),
    cast(:most_jobs AS bigint)
  )
