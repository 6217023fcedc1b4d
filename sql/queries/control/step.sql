-- step: does the next piece of a job; no row where there is none, or where another process is at it
-- parameters: job_id bigint
SELECT /* queries/control/step.sql */
  job_id, action, state, matched, changed, newly_changed, is_waiting, failed, error, left_holds,
  left_messages, waits_for
FROM queuestats.advance_job(cast(:job_id AS bigint))
