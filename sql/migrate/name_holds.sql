-- name_holds: records the hold of each message that a former release held, and deletes the rows of deleted messages
-- Messages that match no active hold keep NULL: a release by filter also changes them.
-- parameters: none
WITH /* migrate/name_holds.sql */ unnamed AS (
  SELECT held.sender_id, held.id, message.id IS NULL AS is_gone, matching.id AS hold_id
  FROM queuestats.held_messages AS held
    LEFT JOIN queuestats.queued_messages AS message
      ON message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
    LEFT JOIN LATERAL (
      SELECT id
      FROM queuestats.holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
      ORDER BY created_at, id
      LIMIT 1
    ) AS matching ON true
  WHERE held.hold_id IS NULL
),

forgotten AS (
  DELETE FROM queuestats.held_messages AS held
  USING unnamed
  WHERE held.sender_id = unnamed.sender_id AND held.id = unnamed.id AND unnamed.is_gone
)

UPDATE queuestats.held_messages AS held SET hold_id = unnamed.hold_id
FROM unnamed
WHERE held.sender_id = unnamed.sender_id AND held.id = unnamed.id AND unnamed.hold_id IS NOT NULL
