-- lock_messages: until the transaction ends no TRUNCATE empties the messages; writers go on
-- places: messages
-- parameters: none
LOCK /* migrate/lock_messages.sql */ TABLE "{messages}" IN ACCESS SHARE MODE
