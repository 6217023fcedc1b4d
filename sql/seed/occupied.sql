-- occupied: whether the queue has any message
-- parameters: none
SELECT /* seed/occupied.sql */ EXISTS(SELECT FROM messages)
