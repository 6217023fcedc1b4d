-- metrics: what a scrape asks the database for, beside queries/watch.sql
-- drift: what the last verify of all senders found; NULL where there was none.
-- indexes: audit_log_verify, jobs_open
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
  ) AS open_jobs
