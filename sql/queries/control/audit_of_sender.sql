-- audit_of_sender: the entries of the audit log for one sender, the latest first
-- token: only entries of calls with this token; account_ids: only entries with one of these accounts as the filter;
-- NULL: all entries.
-- An entry that a previous release wrote has its actor in token_name.
-- indexes: audit_log_sender_id
-- places: schema
-- parameters: sender_id bigint, token text, account_ids bigint[], row_limit bigint
SELECT /* queries/control/audit_of_sender.sql */
  at, action, sender_id, account_id, campaign_id, isp, messages, actor_kind,
  coalesce(actor_name, token_name) AS actor_name, request_id, reason, hold_id, job_id, hold_ids
FROM "{schema}".audit_log
WHERE sender_id = cast(:sender_id AS bigint)
  AND (
    cast(:token AS text) IS NULL
    OR (actor_kind = 'token' AND coalesce(actor_name, token_name) = cast(:token AS text))
  )
  AND (cast(:account_ids AS bigint[]) IS NULL OR account_id = ANY(cast(:account_ids AS bigint[])))
ORDER BY id DESC
LIMIT cast(:row_limit AS bigint)
