-- cancel: cancels a job; messages that it has already changed are not restored
-- places: schema
-- parameters: job_id bigint, actor_kind text, actor_name text
SELECT /* queries/control/cancel.sql */
  "{schema}".cancel_job(cast(:job_id AS bigint), cast(:actor_name AS text), cast(:actor_kind AS text)) AS is_cancelled
