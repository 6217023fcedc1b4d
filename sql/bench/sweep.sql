-- sweep: what a run of writers left behind the messages that stood there before it
-- parameters: standing_messages bigint
DELETE /* bench/sweep.sql */ FROM messages
WHERE id > cast(:standing_messages AS bigint)
