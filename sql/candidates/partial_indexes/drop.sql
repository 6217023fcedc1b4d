-- Undoes create.sql.
DROP INDEX IF EXISTS messages_active;
DROP INDEX IF EXISTS messages_held;
