-- next: the open job whose step runs next; NULL if no job can continue
-- is_expiry: selects only releases of expired holds.
-- indexes: jobs_open
-- places: schema
-- parameters: is_expiry boolean
SELECT /* queries/control/next.sql */ "{schema}".next_job(cast(:is_expiry AS boolean)) AS job_id
