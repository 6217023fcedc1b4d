-- list: every token that was ever created, oldest first
-- parameters: none
SELECT /* tokens/list.sql */ name, scopes, created_at, revoked_at
FROM queuestats.tokens
ORDER BY created_at, name
