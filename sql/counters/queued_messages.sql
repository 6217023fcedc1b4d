-- queued_messages: the columns of messages that are counted and controlled. The service's role reads this view and not
-- the table, so it sees no recipient. `address`: the ctid of the row. `stored_status`: the value that hold and release
-- write.
-- For an adopted table, sql/adopt/queued_messages.sql replaces this file.
-- places: schema, messages, messages_literal, message_status
CREATE OR REPLACE VIEW "{schema}".queued_messages AS
SELECT sender_id, account_id, campaign_id, isp, status, id, ctid AS address, status AS stored_status, created_at
FROM "{messages}";

-- messages_of: the messages of these senders. Inlined by the planner.
CREATE OR REPLACE FUNCTION "{schema}".messages_of(of_senders bigint[]) RETURNS SETOF "{schema}".queued_messages
LANGUAGE sql STABLE AS $$ SELECT * FROM "{schema}".queued_messages WHERE sender_id = ANY (of_senders) $$;

-- scanned_messages: at least the messages of these senders, for a statement that filters by sender itself. If the same
-- condition occurred twice, the planner would expect far too few rows.
CREATE OR REPLACE FUNCTION "{schema}".scanned_messages(of_senders bigint[]) RETURNS SETOF "{schema}".queued_messages
LANGUAGE sql STABLE AS $$ SELECT * FROM "{schema}".queued_messages $$;

-- oldest_message: when the first message of a status arrived, from a given time on; no row if there is none.
CREATE OR REPLACE FUNCTION "{schema}".oldest_message(
  of_sender bigint, of_status "{message_status}", since timestamp with time zone
) RETURNS TABLE (created_at timestamp with time zone)
LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT message.created_at FROM "{schema}".queued_messages AS message
  WHERE message.sender_id = of_sender AND message.status = of_status AND message.created_at >= since
  ORDER BY message.sender_id, message.status, message.created_at LIMIT 1
$$;

-- messages_table: the table itself, for statements that look it up in the catalog.
CREATE OR REPLACE FUNCTION "{schema}".messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT to_regclass("{messages_literal}")::regclass $$;

-- messages_relation: the same as a row.
CREATE OR REPLACE FUNCTION "{schema}".messages_relation() RETURNS TABLE (messages oid)
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT CAST(to_regclass("{messages_literal}") AS oid) $$;

-- stored_status: the value that the table contains for a status.
CREATE OR REPLACE FUNCTION "{schema}".stored_status(of_status "{message_status}") RETURNS "{message_status}"
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT of_status $$;

-- is_holdable: whether hold and release can write a status.
CREATE OR REPLACE FUNCTION "{schema}".is_holdable() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT true $$;

-- unfit_mapping: why the mapping of an adopted table can't be evaluated. Our own table has no mapping.
CREATE OR REPLACE FUNCTION "{schema}".unfit_mapping() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CAST(NULL AS text) $$;

-- column_versions: the versions of the columns that the mapping of an adopted table names, for the proof.
CREATE OR REPLACE FUNCTION "{schema}".column_versions() RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT CAST(NULL AS bigint) WHERE false $$;

-- mapping_definition: for services of the previous release.
CREATE OR REPLACE FUNCTION "{schema}".mapping_definition() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '' $$;
