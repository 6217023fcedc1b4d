-- forget_held: deletes the rows of held messages that have another sender or id in the new mapping
-- The messages stay on hold, as if the platform had put them on hold.
-- parameters: none
DELETE FROM /* queries/adopt/forget_held.sql */ queuestats.held_messages AS held
WHERE NOT EXISTS (
    SELECT
    FROM queuestats.queued_messages AS message
    WHERE message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
  )
