-- occupied: whether the queue holds any message
-- parameters: none
SELECT /* seed/occupied.sql */ EXISTS(SELECT FROM messages)
