-- The messages of an adopted table as they are counted. In place of counters/queued_messages.sql.
-- Nothing here depends on the table, its columns or its types: bodies of functions are text, and no view reads the
-- table. So its owner can drop, restore and alter it as before. The expressions of the mapping have qualified names, as
-- PostgreSQL writes them, so they do not depend on a search_path.
--
-- status_of, isp_of and key_id convert the results of the mapping's expressions to counted values. An expression uses
-- the collations of the owner's columns; its result is compared byte by byte (COLLATE "C"). NULL means the same
-- everywhere: a row without a sender or a status is left out, a NULL account or campaign is 0, a NULL ISP is ''. An
-- empty text is a key like any other.
-- places: schema, message_status, queued, messages, messages_literal, try_columns, stored_new, stored_proc, stored_retry, stored_hold, is_holdable, column_names, sender, status, created, condition, arrival_sender, arrival_status

-- status_of: one of the four statuses, or NULL.
CREATE OR REPLACE FUNCTION "{schema}".status_of(word text) RETURNS "{message_status}"
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE word COLLATE "C"
    WHEN 'new' THEN 'new'::"{message_status}" WHEN 'proc' THEN 'proc' WHEN 'retry' THEN 'retry'
    WHEN 'hold' THEN 'hold'
  END
$$;

-- isp_of: the name of the ISP, cut to the size that fits into the counters' index.
CREATE OR REPLACE FUNCTION "{schema}".isp_of(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(word) <= 255 THEN word ELSE coalesce(left(word, 63), '') END
$$;

-- key_id: the number of a key that is text or a UUID, 1 to 2^63 - 1; NULL for NULL. It is a hash, so writers with the
-- same new key do not wait for each other, and any client can compute it. The probability that two of a million keys
-- have the same number is 1 in 18 million; adopt and migrate refuse such a table.
CREATE OR REPLACE FUNCTION "{schema}".key_id(word text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN word IS NOT NULL THEN greatest(hashtextextended(word COLLATE "C", 0) & 9223372036854775807, 1) END
$$;

-- messages_relation: the adopted table, for statements that look it up in the catalog; no row if there is none. The
-- service's role may lack USAGE on the table's schema, so to_regclass would be an error.
CREATE OR REPLACE FUNCTION "{schema}".messages_relation() RETURNS TABLE (messages oid)
LANGUAGE sql STABLE PARALLEL SAFE AS $queuestats$
  SELECT relation.oid
  FROM pg_catalog.pg_class AS relation
    INNER JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
  WHERE nspname = (parse_ident("{messages_literal}"))[1] AND relname = (parse_ident("{messages_literal}"))[2]
$queuestats$;

-- messages_table: the same as a value; NULL if there is none.
CREATE OR REPLACE FUNCTION "{schema}".messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT messages::regclass FROM "{schema}".messages_relation() $$;

-- mapped_messages: the messages of these senders (NULL: of all). It runs with the rights of its owner, because the
-- service's role reads no column of the table. The settings make stored_status the same in every session.
CREATE OR REPLACE FUNCTION "{schema}".mapped_messages(of_senders bigint[]) RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text, status "{message_status}", id bigint,
  created_at timestamp with time zone, address tid, stored_status text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 AS $queuestats$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT message.* FROM "{queued}" AS message
  WHERE mapped_messages.of_senders IS NULL OR message.sender_id = ANY (mapped_messages.of_senders);
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
  RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the mapping can''t be evaluated', DETAIL = SQLERRM;
END
$queuestats$;

-- oldest_message: when the first message of a status arrived, from a given time on; no row if there is none. It uses
-- the index queuestats_arrival, independent of the table's statistics.
CREATE OR REPLACE FUNCTION "{schema}".oldest_message(
  of_sender bigint, of_status "{message_status}", since timestamp with time zone
) RETURNS TABLE (created_at timestamp with time zone)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $queuestats$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT "{created}" FROM "{messages}" AS queuestats_row
  WHERE "{condition}" AND "{arrival_sender}" = oldest_message.of_sender
    AND "{arrival_status}" = oldest_message.of_status::text COLLATE "C" AND "{created}" >= oldest_message.since
    AND "{sender}" = oldest_message.of_sender AND "{status}" = oldest_message.of_status
  ORDER BY "{arrival_sender}", "{arrival_status}", "{created}" LIMIT 1;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
  RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the mapping can''t be evaluated', DETAIL = SQLERRM;
END
$queuestats$;

-- queued_messages: all messages. A statement that filters by sender reads messages_of.
CREATE OR REPLACE VIEW "{schema}".queued_messages AS
SELECT sender_id, account_id, campaign_id, isp COLLATE "C" AS isp, status, id, address, stored_status, created_at
FROM "{schema}".mapped_messages(NULL);

-- messages_of: the messages of these senders.
CREATE OR REPLACE FUNCTION "{schema}".messages_of(of_senders bigint[]) RETURNS SETOF "{schema}".queued_messages
LANGUAGE sql STABLE AS $$
  SELECT sender_id, account_id, campaign_id, isp COLLATE "C", status, id, address, stored_status, created_at
  FROM "{schema}".mapped_messages(of_senders)
$$;

-- scanned_messages: the same, for an adopted table. See counters/queued_messages.sql.
CREATE OR REPLACE FUNCTION "{schema}".scanned_messages(of_senders bigint[]) RETURNS SETOF "{schema}".queued_messages
LANGUAGE sql STABLE AS $$ SELECT * FROM "{schema}".messages_of(of_senders) $$;

-- unfit_mapping: why the mapping can't be evaluated: a column, function or type that it names was dropped, renamed or
-- changed. NULL if it can be evaluated. LIMIT 0 reads no row. EXECUTE is needed because a session's cached plan
-- contains the values of an enumeration under their former names.
CREATE OR REPLACE FUNCTION "{schema}".unfit_mapping() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $queuestats$
BEGIN
  EXECUTE $unfit_mapping$ SELECT "{try_columns}" FROM "{messages}" AS queuestats_row LIMIT 0 $unfit_mapping$;
  EXECUTE $unfit_mapping$ SELECT message.* FROM "{queued}" AS message LIMIT 0 $unfit_mapping$;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END
$queuestats$;

-- stored_status: the text that the table contains for a status.
CREATE OR REPLACE FUNCTION "{schema}".stored_status(of_status "{message_status}") RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $queuestats$
  SELECT CASE of_status
    WHEN 'new' THEN "{stored_new}" WHEN 'proc' THEN "{stored_proc}"
    WHEN 'retry' THEN "{stored_retry}" WHEN 'hold' THEN "{stored_hold}"
  END
$queuestats$;

-- is_holdable: whether the mapping defines how hold and release write a status.
CREATE OR REPLACE FUNCTION "{schema}".is_holdable() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT "{is_holdable}" $$;

-- column_versions: the versions of the columns that the mapping names, for the proof (counters/proof.sql).
CREATE OR REPLACE FUNCTION "{schema}".column_versions() RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $queuestats$
  SELECT pg_catalog.hash_record_extended(ROW(attrelid, attnum, attname, attribute.xmin), 0)
  FROM "{schema}".messages_relation() INNER JOIN pg_catalog.pg_attribute AS attribute ON attrelid = messages
  WHERE attname = ANY (CAST("{column_names}" AS name[]))
$queuestats$;

-- mapping_definition: for services of the previous release.
CREATE OR REPLACE FUNCTION "{schema}".mapping_definition() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '' $$;

REVOKE EXECUTE ON FUNCTION
"{schema}".mapped_messages(bigint[]), "{schema}".unfit_mapping(),
"{schema}".oldest_message(bigint, "{message_status}", timestamp with time zone)
FROM PUBLIC;
