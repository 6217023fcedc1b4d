-- create: stores a new token; replaces an active token of this name only if `replace` is true
-- A NULL limit is no limit. expires_in NULL: never.
-- parameters: name text, hash bytea, scopes text[], sender_ids bigint[], account_ids bigint[], expires_in interval, replace boolean, actor_kind text, actor_name text
WITH /* tokens/create.sql */ created AS (
  INSERT INTO queuestats.tokens AS old
  (name, hash, scopes, sender_ids, account_ids, expires_at)
  VALUES (
    cast(:name AS text), cast(:hash AS bytea), cast(:scopes AS text[]),
    cast(:sender_ids AS bigint[]), cast(:account_ids AS bigint[]), now() + cast(:expires_in AS interval)
  )
  ON CONFLICT (name) DO UPDATE
    SET
      hash = excluded.hash, scopes = excluded.scopes, created_at = excluded.created_at, revoked_at = NULL,
      sender_ids = excluded.sender_ids, account_ids = excluded.account_ids, expires_at = excluded.expires_at,
      former_hash = NULL, former_until = NULL
    WHERE old.revoked_at IS NOT NULL OR old.expires_at < excluded.created_at OR cast(:replace AS boolean)
  RETURNING name
)

INSERT INTO queuestats.audit_log (action, sender_id, actor_kind, actor_name, request_id, subject)
SELECT
  'create token', 0, cast(:actor_kind AS text), cast(:actor_name AS text), '', name
FROM created
RETURNING subject AS name
