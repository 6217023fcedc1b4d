-- cancel: ends a job; what it has changed stays
-- parameters: job_id bigint, token_name text
SELECT /* queries/control/cancel.sql */
  queuestats.cancel_job(cast(:job_id AS bigint), cast(:token_name AS text)) AS is_cancelled
