-- stuck_jobs: jobs have waited for more than a minute, failed repeatedly, or began more than ten minutes ago
-- parameters: none
SELECT /* conditions/stuck_jobs.sql */
  format('job %s, a %s for sender %s, began at %s and is %s', id, action, sender_id, created_at, state)
  || coalesce(format('; since %s it has been waiting for %s', waits_since, waits_for), '')
  || CASE WHEN attempts > 0 THEN format('; %s attempts failed: %s', attempts, error) ELSE '' END AS finding,
  format('queuestats jobs --cancel %s', id) AS command
FROM queuestats.jobs
WHERE finished_at IS NULL
  AND (
    created_at < now() - interval '10 minutes' OR waits_since < now() - interval '1 minute' OR attempts >= 3
  )
ORDER BY id
LIMIT 10
