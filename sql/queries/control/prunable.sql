-- prunable: for each table, the number of rows that prune.sql with the same older_than would delete
-- places: schema
-- parameters: older_than interval
WITH /* queries/control/prunable.sql */ ended AS (
  SELECT array_agg(id) AS ids
  FROM "{schema}".prunable_jobs(cast(:older_than AS interval))
)

SELECT
  coalesce(cardinality(ended.ids), 0) AS jobs,
  (SELECT count(*) FROM "{schema}".job_chunks WHERE job_id = ANY(ended.ids)) AS job_chunks,
  (SELECT count(*) FROM "{schema}".prunable_entries(cast(:older_than AS interval))) AS audit_log
FROM ended
