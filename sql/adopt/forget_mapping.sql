-- Runs before another mapping is installed: drops the objects that CREATE OR REPLACE can't replace, because their types
-- may change. It runs in one transaction with the files that create them again. The triggers stay.
-- The first revision creates a table messages in this schema. An adopted table replaces it.
-- Functions that no other file of this release names, such as is_mapped and counted_rows, are of former releases, which
-- read the table through views. attach.sql drops is_mapped after the last trigger that uses it.
-- places: schema
DROP TABLE IF EXISTS "{schema}".messages;
DELETE FROM "{schema}".adopted;
DELETE FROM "{schema}".repeatable_migrations;

CREATE OR REPLACE FUNCTION "{schema}".is_mapped(nothing integer) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT true $$;

DROP VIEW IF EXISTS "{schema}".queued_messages, "{schema}".counted_rows, "{schema}".adopted_columns CASCADE;
DROP FUNCTION IF EXISTS "{schema}".message_of, "{schema}".mapped_columns, "{schema}".recount;
DROP FUNCTION IF EXISTS "{schema}".stored_status, "{schema}".stored_value;
DROP FUNCTION IF EXISTS "{schema}".names_of, "{schema}".named_columns;
