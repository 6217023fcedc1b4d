-- Before another mapping is put into place: what CREATE OR REPLACE can't replace, because types or names of columns may
-- be others. In one transaction with what takes its place. The triggers stay.
CREATE OR REPLACE FUNCTION queuestats.is_mapped(nothing integer) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT true $$;

DROP VIEW IF EXISTS queuestats.queued_messages, queuestats.adopted_columns CASCADE;
DROP FUNCTION IF EXISTS queuestats.message_of, queuestats.mapped_columns, queuestats.stored_status, queuestats.stored_value;
DROP FUNCTION IF EXISTS queuestats.names_of, queuestats.named_columns;
