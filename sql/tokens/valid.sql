-- valid: the hash, the name and the limits of every active secret; a rotated token may have two
-- parameters: none
SELECT /* tokens/valid.sql */ hash, name, scopes, sender_ids, account_ids
FROM queuestats.tokens
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
UNION ALL
SELECT former_hash, name, scopes, sender_ids, account_ids
FROM queuestats.tokens
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND former_until > now()
