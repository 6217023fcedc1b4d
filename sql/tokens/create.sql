-- create: stores a new token; a name in force is only replaced where that is wished, else no row comes back
-- parameters: name text, hash bytea, scopes text[], replace boolean
INSERT /* tokens/create.sql */ INTO queuestats.tokens AS old (name, hash, scopes)
VALUES (cast(:name AS text), cast(:hash AS bytea), cast(:scopes AS text[]))
ON CONFLICT (name) DO UPDATE
  SET hash = excluded.hash, scopes = excluded.scopes, created_at = excluded.created_at, revoked_at = NULL
  WHERE old.revoked_at IS NOT NULL OR cast(:replace AS boolean)
RETURNING name
