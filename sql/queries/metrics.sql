-- metrics: the values of a scrape that come from the database, in addition to those of queries/watch.sql
-- drift: wrong counts that are not repaired yet, on one machine. verified_at, fully_verified_at: the times of the last
-- audit in the background and of the last verify of all senders; NULL if there was none.
-- colliding_keys: the number of texts that have the number of another text: see sql/adopt/names.sql.
-- has_arrivals: whether the times of arrival of messages are known.
-- The condition on drift is always true. It makes the planner use the index.
-- indexes: audit_log_verify, background_tasks_pkey, drift_pkey, jobs_open, keys_pkey
-- parameters: none
SELECT /* queries/metrics.sql */
  (
    SELECT coalesce(cast(sum(differences) AS bigint), 0)
    FROM queuestats.drift
    WHERE sender_id >= -9223372036854775808
  ) AS drift,
  (
    SELECT cast(extract(EPOCH FROM succeeded_at) AS double precision)
    FROM queuestats.background_tasks
    WHERE name = 'proof'
  ) AS verified_at,
  (
    SELECT cast(extract(EPOCH FROM at) AS double precision)
    FROM queuestats.audit_log
    WHERE action = 'verify'
    ORDER BY id DESC
    LIMIT 1
  ) AS fully_verified_at,
  (
    SELECT count(*)
    FROM queuestats.jobs
    WHERE finished_at IS NULL
  ) AS open_jobs,
  (
    SELECT coalesce(cast(extract(EPOCH FROM now() - min(waits_since)) AS double precision), 0)
    FROM queuestats.jobs
    WHERE finished_at IS NULL
  ) AS job_wait_seconds,
  (
    SELECT count(*)
    FROM queuestats.holds
  ) AS holds,
  (
    SELECT count(*)
    FROM queuestats.held_messages
  ) AS held_messages,
  (
    SELECT count(*)
    FROM queuestats.keys
    WHERE id < 0
  ) AS colliding_keys,
  queuestats.has_arrivals() AS has_arrivals
