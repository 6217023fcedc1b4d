-- empty: throws away every message; a rollback brings them back
-- parameters: none
TRUNCATE /* seed/empty.sql */ messages
