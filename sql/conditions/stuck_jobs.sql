-- stuck_jobs: jobs have waited for more than a minute, failed repeatedly, or began more than ten minutes ago
-- parameters: none
SELECT /* conditions/stuck_jobs.sql */
  format('job %s, a %s for sender %s, is %s since %s', id, action, sender_id, state, created_at)
  || coalesce(format('; it waits since %s for %s', waits_since, waits_for), '')
  || CASE WHEN attempts > 0 THEN format('; %s tries failed: %s', attempts, error) ELSE '' END AS finding,
  format('queuestats jobs --cancel %s', id) AS command
FROM queuestats.jobs
WHERE finished_at IS NULL
  AND (
    created_at < now() - interval '10 minutes' OR waits_since < now() - interval '1 minute' OR attempts >= 3
  )
ORDER BY id
LIMIT 10
