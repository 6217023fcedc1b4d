-- prune: deletes up to 5,000 old rows of each table, and returns the numbers; no row while another prune is running
-- places: schema
-- parameters: older_than interval
SELECT /* queries/control/prune.sql */ jobs, job_chunks, audit_log
FROM "{schema}".prune(cast(:older_than AS interval))
