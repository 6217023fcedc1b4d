-- budgets: the numbers of active holds and open jobs, for the twenty tokens with the most holds and with the most jobs
-- The condition on holds is always true. It makes the planner use the index.
-- indexes: holds_sender_id, jobs_open
-- places: schema
-- parameters: none
SELECT /* queries/budgets.sql */ resource, token, used
FROM (
  (
    SELECT 'active_holds' AS resource, created_by AS token, count(*) AS used
    FROM "{schema}".holds
    WHERE sender_id >= -9223372036854775808 AND created_by_kind = 'token'
    GROUP BY created_by
    ORDER BY used DESC, token
    LIMIT 20
  )
  UNION ALL
  (
    SELECT 'open_jobs' AS resource, requested_by AS token, count(*) AS used
    FROM "{schema}".jobs
    WHERE finished_at IS NULL AND requested_by_kind = 'token'
    GROUP BY requested_by
    ORDER BY used DESC, token
    LIMIT 20
  )
) AS budget
