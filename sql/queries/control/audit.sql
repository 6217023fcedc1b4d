-- audit: the entries of the audit log, with their actors, the latest first
-- An entry that a previous release wrote has its actor in token_name.
-- places: schema
-- parameters: sender_id bigint, row_limit bigint
SELECT /* queries/control/audit.sql */
  at, action, subject, sender_id, account_id, campaign_id, isp, messages,
  actor_kind, coalesce(actor_name, token_name) AS actor_name, request_id, reason, hold_id, job_id,
  hold_ids
FROM "{schema}".audit_log
WHERE cast(:sender_id AS bigint) IS NULL OR sender_id = cast(:sender_id AS bigint)
ORDER BY id DESC
LIMIT cast(:row_limit AS bigint)
