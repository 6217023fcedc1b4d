-- prune: deletes up to 5,000 rows of each table that ended so long ago; how many; no row while another prune is at work
-- parameters: older_than interval
SELECT /* queries/control/prune.sql */ jobs, job_chunks, audit_log
FROM queuestats.prune(cast(:older_than AS interval))
