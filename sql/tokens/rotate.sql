-- rotate: gives a token in force a new secret; the former one stays valid for a while
-- parameters: name text, hash bytea, overlap interval
UPDATE /* tokens/rotate.sql */ queuestats.tokens
SET former_hash = hash, former_until = now() + cast(:overlap AS interval), hash = cast(:hash AS bytea)
WHERE name = cast(:name AS text) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING name
