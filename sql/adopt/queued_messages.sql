-- queued_messages, message_of: what an adopted table counts as. In place of counters/queued_messages.sql.
-- The places hold the table and the expressions of its mapping. An expression is read by the search_path of its owner.
-- Left out are rows that the condition leaves out, and those without a sender or a status: no writer fails for them.
--
-- status_of, isp_of and key_id convert the results of the mapping's expressions to counted values. An expression uses
-- the collations of the owner's columns; its result is compared byte by byte (COLLATE "C"). NULL means the same
-- everywhere: a row without a sender or a status is left out, a NULL account or campaign is 0, a NULL ISP is ''. An
-- empty text is a key like any other.
-- places: schema, message_status, sender, account, campaign, isp, status, id, stored_column, messages, condition, columns, arguments, named_arguments, used_columns, messages_literal, stored_type, stored_new, stored_proc, stored_retry, stored_hold, is_holdable, search_path
SET search_path = "{search_path}", pg_temp;

-- status_of: one of the four, or NULL.
CREATE OR REPLACE FUNCTION "{schema}".status_of(word text) RETURNS "{message_status}"
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE word COLLATE "C"
    WHEN 'new' THEN 'new'::"{message_status}" WHEN 'proc' THEN 'proc' WHEN 'retry' THEN 'retry'
    WHEN 'hold' THEN 'hold'
  END
$$;

-- isp_of: what fits into the counters' index; a longer name is cut.
CREATE OR REPLACE FUNCTION "{schema}".isp_of(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(word) <= 255 THEN word ELSE coalesce(left(word, 63), '') END
$$;

-- key_id: the number of a key that is text or a UUID, 1 to 2^63 - 1; NULL for NULL. It is a hash, so writers with the
-- same new key do not wait for each other, and any client can compute it. Among a million keys, two have the same
-- number in one of 18 million such queues; adopt and migrate refuse such a table.
CREATE OR REPLACE FUNCTION "{schema}".key_id(word text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN word IS NOT NULL THEN greatest(hashtextextended(word COLLATE "C", 0) & 9223372036854775807, 1) END
$$;

CREATE OR REPLACE VIEW "{schema}".queued_messages AS
SELECT
  "{sender}" AS sender_id, "{account}" AS account_id, "{campaign}" AS campaign_id, "{isp}" COLLATE "C" AS isp,
  "{status}" AS status, "{id}" AS id, ctid AS address, "{stored_column}" AS stored_status
FROM "{messages}"
WHERE "{condition}" AND "{sender}" > 0 AND "{status}" IS NOT NULL;

-- adopted_columns: the columns that message_of knows by their place. PostgreSQL refuses to drop one of them.
CREATE OR REPLACE VIEW "{schema}".adopted_columns AS
SELECT "{columns}" FROM "{messages}";

-- mapped_columns: the mapping, of the columns that it names. Its text is parsed once, so it does not depend on a later
-- search_path. The argument of a function has the default collation of its type: COLLATE gives it the column's.
CREATE OR REPLACE FUNCTION "{schema}".mapped_columns("{arguments}") RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text, status "{message_status}", id bigint
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT "{sender}", "{account}", "{campaign}", "{isp}" COLLATE "C", "{status}", "{id}"
  FROM (SELECT "{named_arguments}") AS message
  WHERE "{condition}" AND "{sender}" > 0 AND "{status}" IS NOT NULL;
END;

-- message_of: what a row counts as; no row where it is left out. It knows columns by their place, so they may be
-- renamed. Its text is a string: PostgreSQL refuses ALTER TABLE … ADD … DEFAULT where a stored expression has the
-- row type of the table.
CREATE OR REPLACE FUNCTION "{schema}".message_of(of_row "{messages}") RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text, status "{message_status}", id bigint
)
LANGUAGE sql STABLE PARALLEL SAFE AS $message_of$
  SELECT mapped.* FROM (SELECT (of_row).*) AS message ("{columns}")
    CROSS JOIN LATERAL "{schema}".mapped_columns("{used_columns}") AS mapped
$message_of$;

-- is_mapped: never runs, because its argument is NULL. The triggers name it, so a column that is dropped with CASCADE
-- takes the triggers along, and no writer meets a trigger without its mapping.
CREATE OR REPLACE FUNCTION "{schema}".is_mapped(nothing integer) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT
BEGIN ATOMIC
  SELECT EXISTS(SELECT FROM "{schema}".adopted_columns);
END;

CREATE OR REPLACE FUNCTION "{schema}".messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT cast("{messages_literal}" AS regclass);
END;

-- stored_status: what the table holds for a status.
CREATE OR REPLACE FUNCTION "{schema}".stored_status(of_status "{message_status}") RETURNS "{stored_type}"
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE of_status
    WHEN 'new' THEN "{stored_new}" WHEN 'proc' THEN "{stored_proc}"
    WHEN 'retry' THEN "{stored_retry}" WHEN 'hold' THEN "{stored_hold}"
  END;
END;

-- stored_value: the value that stored_text has kept of a held message (control/arrivals.sql), in the column's type.
CREATE OR REPLACE FUNCTION "{schema}".stored_value(kept text) RETURNS "{stored_type}"
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT cast((cast(kept AS text[]))[1] AS "{stored_type}");
END;

-- is_holdable: whether the mapping says how hold and release write a status.
CREATE OR REPLACE FUNCTION "{schema}".is_holdable() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT "{is_holdable}" $$;

-- mapping_definition: the view as PostgreSQL shows it now: with other names once a column was renamed.
CREATE OR REPLACE FUNCTION "{schema}".mapping_definition() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_get_viewdef('"{schema}".queued_messages'::regclass)
$$;

SET search_path = "{schema}";
