-- step: runs the next step of a job; no row if there is no such job, or if another process runs the step
-- places: schema
-- parameters: job_id bigint
SELECT /* queries/control/step.sql */
  job_id, action, state, matched, changed, newly_changed, is_waiting, failed, error, left_holds,
  left_messages, waits_for
FROM "{schema}".advance_job(cast(:job_id AS bigint))
