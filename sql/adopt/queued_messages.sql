-- queued_messages, message_of: what an adopted table counts as. In place of counters/queued_messages.sql.
-- `queuestats adopt` puts the table and the expressions of its mapping in place of the words that begin with a colon.
-- Left out are rows that the condition leaves out, and those without a sender or a status: no writer fails for them.

-- status_of: one of the four, or NULL.
CREATE OR REPLACE FUNCTION queuestats.status_of(word text) RETURNS queuestats.message_status
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE word
    WHEN 'new' THEN 'new'::queuestats.message_status WHEN 'proc' THEN 'proc' WHEN 'retry' THEN 'retry'
    WHEN 'hold' THEN 'hold'
  END
$$;

-- isp_of: what fits into the counters' index; a longer name is cut.
CREATE OR REPLACE FUNCTION queuestats.isp_of(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(word) <= 255 THEN word ELSE coalesce(left(word, 63), '') END COLLATE "C"
$$;

-- key_id: the number that stands for a key that is text or a UUID, 1 to 2^63 - 1. A hash, so no writer waits for
-- another one that brings the same key, and any client can compute it. Among a million keys two have the same number in
-- one of 18 million such queues.
CREATE OR REPLACE FUNCTION queuestats.key_id(word text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(hashtextextended(word, 0) & 9223372036854775807, 1)
$$;

CREATE OR REPLACE VIEW queuestats.queued_messages AS
SELECT
  :sender AS sender_id, :account AS account_id, :campaign AS campaign_id, :isp AS isp, :status AS status,
  :id AS id, ctid AS address, :stored_column AS stored_status
FROM :queue
WHERE :condition AND :sender > 0 AND :status IS NOT NULL;

-- message_of: the same of one row; no row where it is left out. Its text is parsed once, and names columns by number: a
-- column or the table may be renamed, and it follows. A column that it names can't be dropped, except with CASCADE.
CREATE OR REPLACE FUNCTION queuestats.message_of(of_row :queue) RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text, status queuestats.message_status, id bigint
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT :sender, :account, :campaign, :isp, :status, :id
  FROM (SELECT (of_row).*) AS message
  WHERE :condition AND :sender > 0 AND :status IS NOT NULL;
END;

-- is_mapped: never runs. The triggers name it, so a column that is dropped with CASCADE takes the triggers along, and
-- no writer meets a trigger without its mapping.
CREATE OR REPLACE FUNCTION queuestats.is_mapped(of_row :queue) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT
BEGIN ATOMIC
  SELECT EXISTS(SELECT FROM queuestats.message_of(of_row));
END;

CREATE OR REPLACE FUNCTION queuestats.messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT cast(:queue_literal AS regclass);
END;

-- stored_status: what the table holds for a status.
CREATE OR REPLACE FUNCTION queuestats.stored_status(of_status queuestats.message_status) RETURNS :stored_type
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE of_status
    WHEN 'new' THEN :stored_new WHEN 'proc' THEN :stored_proc
    WHEN 'retry' THEN :stored_retry WHEN 'hold' THEN :stored_hold
  END
$$;

-- is_holdable: whether the mapping says how hold and release write a status.
CREATE OR REPLACE FUNCTION queuestats.is_holdable() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT :is_holdable $$;

-- mapping_definition: message_of as PostgreSQL shows it now: with other names once a column was renamed.
CREATE OR REPLACE FUNCTION queuestats.mapping_definition() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_get_functiondef('queuestats.message_of'::regproc)
$$;
