-- size: the number of messages in the queue
-- parameters: none
SELECT /* seed/size.sql */ count(*) FROM messages
