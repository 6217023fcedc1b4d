-- Takes away what create.sql made.
DROP INDEX IF EXISTS messages_active;
DROP INDEX IF EXISTS messages_held;
