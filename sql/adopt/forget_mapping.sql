-- Before another mapping is put into place: what CREATE OR REPLACE can't replace, because types may be others. In one
-- transaction with what takes its place. The triggers stay.
-- The first revision creates a table messages in this schema; the adopted table stands in its place.
-- is_mapped, counted_rows and what else no other file of this release names: of former releases, which read the table
-- through views. attach.sql drops is_mapped when no trigger names it any more.
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
