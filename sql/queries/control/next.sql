-- next: the open job for the next step; NULL if none can continue
-- is_expiry: only releases of expired holds.
-- indexes: jobs_open
-- places: schema
-- parameters: is_expiry boolean
SELECT /* queries/control/next.sql */ "{schema}".next_job(cast(:is_expiry AS boolean)) AS job_id
