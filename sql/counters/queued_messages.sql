-- queued_messages: the messages as far as they are counted and controlled. The service's role reads this view and not
-- the table, so it sees no recipient. `address`: where the row stands. `stored_status`: what hold and release write.
-- For an adopted table sql/adopt/queued_messages.sql stands in place of this file.
-- places: schema, messages, messages_literal, message_status
CREATE OR REPLACE VIEW "{schema}".queued_messages AS
SELECT sender_id, account_id, campaign_id, isp, status, id, ctid AS address, status AS stored_status
FROM "{messages}";

-- messages_table: the table itself, for statements that look it up in the catalog.
CREATE OR REPLACE FUNCTION "{schema}".messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT to_regclass("{messages_literal}")::regclass $$;

-- stored_status: what the table holds for a status.
CREATE OR REPLACE FUNCTION "{schema}".stored_status(of_status "{message_status}") RETURNS "{message_status}"
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT of_status $$;

-- stored_value: the value that stored_text has kept of a held message (control/arrivals.sql), in the column's type.
CREATE OR REPLACE FUNCTION "{schema}".stored_value(kept text) RETURNS "{message_status}"
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT cast((cast(kept AS text[]))[1] AS "{message_status}");
END;

-- is_holdable: whether hold and release can write a status.
CREATE OR REPLACE FUNCTION "{schema}".is_holdable() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT true $$;

-- mapping_definition: of an adopted table what a row counts as; here it is the columns themselves.
CREATE OR REPLACE FUNCTION "{schema}".mapping_definition() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '' $$;
