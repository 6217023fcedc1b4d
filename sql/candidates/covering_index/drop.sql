-- Undoes create.sql.
DROP INDEX IF EXISTS messages_covering;
