-- Deletes old rows in small steps. Open jobs, rows of an active hold, and the newest entry of a verify, which the
-- metrics show, are kept.
-- places: schema

-- prunable_jobs: jobs that ended longer than this ago, the oldest first.
CREATE OR REPLACE FUNCTION "{schema}".prunable_jobs(older_than interval) RETURNS SETOF "{schema}".jobs
LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".jobs AS job
  WHERE finished_at < now() - older_than AND NOT EXISTS (SELECT FROM "{schema}".holds WHERE id = job.hold_id)
  ORDER BY id
$$;

-- prunable_entries: entries of the audit log that are older than this, the oldest first.
CREATE OR REPLACE FUNCTION "{schema}".prunable_entries(older_than interval) RETURNS SETOF "{schema}".audit_log
LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".audit_log AS entry
  WHERE at < now() - older_than
    AND id IS DISTINCT FROM (SELECT max(id) FROM "{schema}".audit_log WHERE action = 'verify')
    AND NOT EXISTS (SELECT FROM "{schema}".holds WHERE id = entry.hold_id)
    AND NOT EXISTS (SELECT FROM "{schema}".jobs WHERE id = entry.job_id AND finished_at IS NULL)
  ORDER BY id
$$;

DROP FUNCTION IF EXISTS "{schema}".prunable_held_messages(bigint[]);

-- prune: deletes up to this many rows of each table. Returns how many; all zero if nothing is left to delete, no row
-- while another prune is running. The service may not delete rows younger than 30 days, because the audit log also
-- records the actions of the service.
CREATE OR REPLACE FUNCTION "{schema}".prune(older_than interval, at_most integer DEFAULT 5000) RETURNS TABLE (
  jobs bigint, job_chunks bigint, held_messages bigint, audit_log bigint
)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  ended CONSTANT bigint[] := ARRAY(SELECT id FROM "{schema}".prunable_jobs(older_than) LIMIT at_most);
BEGIN
  IF older_than < '30 days' AND NOT pg_has_role(session_user, current_user, 'USAGE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the owner may delete rows younger than 30 days';
  ELSIF NOT pg_try_advisory_xact_lock('"{schema}".audit_log'::regclass::bigint) THEN
    RETURN;
  END IF;
  held_messages := 0; -- Services of the previous release read it.
  DELETE FROM "{schema}".job_chunks WHERE (job_id, number) IN (
    SELECT job_id, number FROM "{schema}".job_chunks WHERE job_id = ANY (ended) LIMIT at_most
  );
  GET DIAGNOSTICS job_chunks = ROW_COUNT;
  -- A job is deleted after all rows that belong to it.
  DELETE FROM "{schema}".jobs WHERE id = ANY (ended) AND job_chunks = 0;
  GET DIAGNOSTICS jobs = ROW_COUNT;
  DELETE FROM "{schema}".audit_log WHERE id IN (
    SELECT id FROM "{schema}".prunable_entries(older_than) LIMIT at_most
  );
  GET DIAGNOSTICS audit_log = ROW_COUNT;
  RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".prune(interval, integer) FROM PUBLIC;
