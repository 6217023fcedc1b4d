-- valid: the hash, the name and the scopes of every token that is in force
-- parameters: none
SELECT /* tokens/valid.sql */ hash, name, scopes
FROM queuestats.tokens
WHERE revoked_at IS NULL
