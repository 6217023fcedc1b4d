-- holds: the active holds of one sender (NULL: of all), the oldest first
-- parameters: sender_id bigint
SELECT /* queries/control/holds.sql */
  id, sender_id, account_id, campaign_id, isp, reason, created_by_kind, created_by, created_at, expires_at
FROM queuestats.holds
WHERE cast(:sender_id AS bigint) IS NULL OR sender_id = cast(:sender_id AS bigint)
ORDER BY id
