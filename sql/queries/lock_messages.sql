-- lock_messages: until the transaction ends no TRUNCATE empties the messages; writers go on
-- parameters: none
LOCK /* queries/lock_messages.sql */ TABLE queuestats.queued_messages IN ACCESS SHARE MODE
