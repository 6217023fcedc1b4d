-- forget_held: deletes what is kept for held messages that the new mapping gives another sender or id
-- They stay on hold, as if the platform had put them there.
-- parameters: none
DELETE FROM /* queries/adopt/forget_held.sql */ queuestats.held_messages AS held
WHERE NOT EXISTS (
    SELECT
    FROM queuestats.queued_messages AS message
    WHERE message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
  )
