-- jobs: one job, or (NULL) the latest hundred of one sender (NULL: of all), the newest first
-- parameters: job_id bigint, sender_id bigint
SELECT /* queries/control/jobs.sql */
  id, action, sender_id, account_id, campaign_id, isp, state, matched, changed, requested_by_kind, requested_by,
  created_at, finished_at
FROM queuestats.jobs
WHERE (cast(:job_id AS bigint) IS NULL OR id = cast(:job_id AS bigint))
  AND (cast(:sender_id AS bigint) IS NULL OR sender_id = cast(:sender_id AS bigint))
ORDER BY id DESC
LIMIT 100
