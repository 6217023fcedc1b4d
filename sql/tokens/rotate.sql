-- rotate: gives an active token a new secret; the former secret stays valid for `overlap`
-- parameters: name text, hash bytea, overlap interval, actor_kind text, actor_name text
WITH /* tokens/rotate.sql */ rotated AS (
  UPDATE queuestats.tokens
  SET former_hash = hash, former_until = now() + cast(:overlap AS interval), hash = cast(:hash AS bytea)
  WHERE name = cast(:name AS text) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
  RETURNING name
)

INSERT INTO queuestats.audit_log (action, sender_id, actor_kind, actor_name, request_id, subject)
SELECT
  'rotate token', 0, cast(:actor_kind AS text), cast(:actor_name AS text), '', name
FROM rotated
RETURNING subject AS name
