-- size: how many messages the queue holds
-- parameters: none
SELECT /* seed/size.sql */ count(*) FROM messages
