-- jobs: one job, or (NULL) the latest hundred, the newest first
-- parameters: job_id bigint
SELECT /* queries/control/jobs.sql */
  id, action, sender_id, account_id, campaign_id, isp, state, matched, changed, requested_by, created_at, finished_at
FROM queuestats.jobs
WHERE cast(:job_id AS bigint) IS NULL OR id = cast(:job_id AS bigint)
ORDER BY id DESC
LIMIT 100
