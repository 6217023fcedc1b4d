-- jobs: one job; without job_id, 100 jobs of a sender (NULL: of all): the open jobs first, then the newest
-- account_ids: only jobs with one of these accounts as their filter; NULL: all jobs.
-- places: schema
-- parameters: job_id bigint, sender_id bigint, account_ids bigint[]
WITH /* queries/control/jobs.sql */ matching AS NOT MATERIALIZED (
  SELECT *
  FROM "{schema}".jobs
  WHERE (cast(:job_id AS bigint) IS NULL OR id = cast(:job_id AS bigint))
    AND (cast(:sender_id AS bigint) IS NULL OR sender_id = cast(:sender_id AS bigint))
    AND (cast(:account_ids AS bigint[]) IS NULL OR account_id = ANY(cast(:account_ids AS bigint[])))
)

SELECT
  id, action, sender_id, account_id, campaign_id, isp, state, matched, changed, failed, error, left_holds,
  left_messages, waits_for, waits_since, run_at, attempts, requested_by_kind, requested_by, created_at, finished_at
FROM (
  (
    SELECT *
    FROM matching
    WHERE finished_at IS NULL
    ORDER BY id DESC
    LIMIT 100
  )
  UNION ALL
  (
    SELECT *
    FROM matching
    WHERE finished_at IS NOT NULL
    ORDER BY id DESC
    LIMIT 100
  )
) AS job
ORDER BY finished_at IS NOT NULL, id DESC
LIMIT 100
