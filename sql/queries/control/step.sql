-- step: does the next piece of a job (NULL: of the oldest that nobody is at); no row where there is none
-- parameters: job_id bigint
SELECT /* queries/control/step.sql */ job_id, action, state, matched, changed, newly_changed, is_waiting
FROM queuestats.step_job(cast(:job_id AS bigint))
