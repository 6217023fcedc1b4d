-- empty: deletes all messages; a rollback restores them
-- parameters: none
TRUNCATE /* seed/empty.sql */ messages
