-- used: the active holds and the open jobs of a token on a node of a cluster
-- The condition on sender_id is always true. It makes the planner use the index.
-- indexes: holds_sender_id, jobs_open
-- places: schema
-- parameters: token text
SELECT /* queries/control/used.sql */
  (
    SELECT count(*)
    FROM "{schema}".holds
    WHERE sender_id >= -9223372036854775808 AND created_by_kind = 'token' AND created_by = cast(:token AS text)
  ) AS holds,
  (
    SELECT count(*)
    FROM "{schema}".jobs
    WHERE finished_at IS NULL AND requested_by_kind = 'token' AND requested_by = cast(:token AS text)
  ) AS jobs
