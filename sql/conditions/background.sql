-- background: a background task fails, or no process of the service runs it
-- Folding and jobs are needed only while there are deltas and jobs. Messages that were counted a moment ago have not
-- waited for a fold. An instance of the previous release may not record when it folds; it runs until it is replaced.
-- parameters: none
SELECT /* conditions/background.sql */
  CASE
    WHEN task.failed_at > coalesce(task.succeeded_at, '-infinity')
      THEN format('%s has failed since %s: %s', wanted.name, task.failing_since, task.error)
    WHEN task.succeeded_at IS NULL THEN format('%s has never succeeded', wanted.name)
    ELSE format('%s last succeeded at %s', wanted.name, task.succeeded_at)
  END AS finding,
  NULL AS command
FROM (
  SELECT
    'fold' AS name,
    EXISTS(SELECT FROM queuestats.deltas WHERE xid < pg_snapshot_xmin(pg_current_snapshot())) AS is_needed
  UNION ALL
  SELECT
    'jobs', EXISTS (SELECT FROM queuestats.jobs WHERE finished_at IS NULL)
    OR EXISTS (SELECT FROM queuestats.holds WHERE expires_at < now())
) AS wanted
  LEFT JOIN queuestats.background_tasks AS task ON task.name = wanted.name
  LEFT JOIN queuestats.baseline ON true
  CROSS JOIN (SELECT max(applied_at) AS migrated_at FROM queuestats.repeatable_migrations) AS release
WHERE wanted.is_needed
  AND coalesce(task.succeeded_at, greatest(baseline.counted_at, migrated_at)) < now() - interval '1 minute'
UNION ALL
SELECT format('%s has failed since %s: %s', name, failing_since, error), NULL
FROM queuestats.background_tasks
WHERE name NOT IN ('fold', 'jobs')
  AND failed_at > coalesce(succeeded_at, '-infinity')
ORDER BY finding
