-- list: every token that was ever created, oldest first
-- parameters: none
SELECT /* tokens/list.sql */
  name, scopes, sender_ids, account_ids, created_at, expires_at, revoked_at, former_until AS rotating_until
FROM queuestats.tokens
ORDER BY created_at, name
