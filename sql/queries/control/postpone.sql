-- postpone: delays the next step of a job after a step that ended in an error; after ten failures the job fails
-- is_of_job: false for an error that does not depend on the job, which does not count as a failure.
-- places: schema
-- parameters: job_id bigint, error text, is_of_job boolean
SELECT /* queries/control/postpone.sql */
  "{schema}".postpone_job(cast(:job_id AS bigint), cast(:error AS text), cast(:is_of_job AS boolean))
