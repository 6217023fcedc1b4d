-- lock_messages: prevents a TRUNCATE of the messages until the transaction ends; writers continue
-- places: messages
-- parameters: none
LOCK /* migrate/lock_messages.sql */ TABLE "{messages}" IN ACCESS SHARE MODE
