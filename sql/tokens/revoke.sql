-- revoke: revokes a token; no row if there is no active token of this name
-- parameters: name text, actor_kind text, actor_name text
WITH /* tokens/revoke.sql */ revoked AS (
  UPDATE queuestats.tokens
  SET revoked_at = now()
  WHERE name = cast(:name AS text) AND revoked_at IS NULL
  RETURNING name
)

INSERT INTO queuestats.audit_log (action, sender_id, actor_kind, actor_name, request_id, subject)
SELECT
  'revoke token', 0, cast(:actor_kind AS text), cast(:actor_name AS text), '', name
FROM revoked
RETURNING subject AS name
