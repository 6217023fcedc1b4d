-- metrics: what a scrape asks the database for, beside queries/watch.sql
-- drift: what the last verify of all senders found; NULL where there was none.
-- colliding_keys: the texts that have the number of another text: see sql/adopt/names.sql.
-- indexes: audit_log_verify, jobs_open, keys_pkey
-- parameters: none
SELECT /* queries/metrics.sql */
  (
    SELECT messages
    FROM queuestats.audit_log
    WHERE action = 'verify'
    ORDER BY id DESC
    LIMIT 1
  ) AS drift,
  (
    SELECT count(*)
    FROM queuestats.jobs
    WHERE finished_at IS NULL
  ) AS open_jobs,
  (
    SELECT count(*)
    FROM queuestats.keys
    WHERE id < 0
  ) AS colliding_keys
