-- stuck_jobs: holds, releases and purges that were begun more than ten minutes ago and are not done
-- parameters: none
SELECT /* conditions/stuck_jobs.sql */
  format('job %s, a %s for sender %s, is %s since %s', id, action, sender_id, state, created_at) AS finding,
  format('queuestats jobs --cancel %s', id) AS command
FROM queuestats.jobs
WHERE finished_at IS NULL AND created_at < now() - interval '10 minutes'
ORDER BY id
LIMIT 10
