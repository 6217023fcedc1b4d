-- next: the open job to be taken further next; NULL where none can go on
-- is_expiry: only the releases of holds that have expired.
-- indexes: jobs_open
-- parameters: is_expiry boolean
SELECT /* queries/control/next.sql */ queuestats.next_job(cast(:is_expiry AS boolean)) AS job_id
