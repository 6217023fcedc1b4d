-- measured: the numbers of holds and jobs of a node of a cluster, as in queries/metrics.sql
-- indexes: jobs_open
-- places: schema
-- parameters: none
SELECT /* queries/control/measured.sql */
  jobs.open_jobs,
  jobs.job_wait_seconds,
  (
    SELECT count(*)
    FROM "{schema}".holds
  ) AS holds,
  (
    SELECT count(*)
    FROM "{schema}".held_messages
  ) AS held_messages
FROM (
  SELECT
    count(*) AS open_jobs,
    coalesce(cast(extract(EPOCH FROM now() - min(waits_since)) AS double precision), 0) AS job_wait_seconds
  FROM "{schema}".jobs
  WHERE finished_at IS NULL
) AS jobs
