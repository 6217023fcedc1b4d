-- start: begins a hold, a release or a purge; a filter that is NULL lets every message of the sender through
-- parameters: action text, sender_id bigint, account_id bigint, campaign_id bigint, isp text, token_name text, request_id text, reason text, expires_in interval
SELECT /* queries/control/start.sql */ job_id, hold_id
FROM queuestats.start_job(
    cast(:action AS text), cast(:sender_id AS bigint), cast(:account_id AS bigint), cast(:campaign_id AS bigint),
    cast(:isp AS text), cast(:token_name AS text), cast(:request_id AS text), cast(:reason AS text),
    cast(:expires_in AS interval)
  )
