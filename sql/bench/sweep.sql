-- sweep: deletes the messages that a run of writers has added
-- parameters: standing_messages bigint
DELETE /* bench/sweep.sql */ FROM messages
WHERE id > cast(:standing_messages AS bigint)
