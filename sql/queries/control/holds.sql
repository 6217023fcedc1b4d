-- holds: the active holds of one sender (NULL: of all senders), the oldest first, with their numbers of messages
-- indexes: held_messages_hold, holds_sender_id
-- places: schema
-- parameters: sender_id bigint
SELECT /* queries/control/holds.sql */
  hold.id, hold.sender_id, hold.account_id, hold.campaign_id, hold.isp, coalesce(held.messages, 0) AS messages,
  hold.reason, hold.created_by_kind, hold.created_by, hold.created_at, hold.expires_at, hold.sender_limits,
  hold.account_limits
FROM "{schema}".holds AS hold
  LEFT JOIN (
    SELECT sender_id, hold_id, count(*) AS messages
    FROM "{schema}".held_messages
    WHERE cast(:sender_id AS bigint) IS NULL OR sender_id = cast(:sender_id AS bigint)
    GROUP BY sender_id, hold_id
  ) AS held ON held.sender_id = hold.sender_id AND held.hold_id = hold.id
WHERE cast(:sender_id AS bigint) IS NULL OR hold.sender_id = cast(:sender_id AS bigint)
ORDER BY hold.id
