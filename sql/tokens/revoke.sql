-- revoke: ends a token; no row comes back where no such token is in force
-- parameters: name text
UPDATE /* tokens/revoke.sql */ queuestats.tokens
SET revoked_at = now()
WHERE name = cast(:name AS text) AND revoked_at IS NULL
RETURNING name
