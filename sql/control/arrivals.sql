-- holds_of: the active holds that match a message. Inlined by the planner.
-- The filter of a hold is one of eight combinations: account, campaign and ISP are each the message's own or NULL. The
-- index holds_filter contains a hash of each filter, so the number of other holds of any sender does not matter. IS NOT
-- DISTINCT FROM prevents the use of an index on the sender, and the callers' ORDER BY that of an index on created_at.
-- places: schema, queued, messages, id, sender, stored_column, stored_type
CREATE OR REPLACE FUNCTION "{schema}".holds_of(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text)
RETURNS SETOF "{schema}".holds
LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".holds
  WHERE hash_record_extended(ROW(sender_id, account_id, campaign_id, isp), 0) = ANY (ARRAY[
      hash_record_extended(ROW(of_sender, of_account, of_campaign, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, of_account, of_campaign, NULL::text), 0),
      hash_record_extended(ROW(of_sender, of_account, NULL::bigint, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, of_account, NULL::bigint, NULL::text), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, of_campaign, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, of_campaign, NULL::text), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, NULL::bigint, of_isp COLLATE "C"), 0),
      hash_record_extended(ROW(of_sender, NULL::bigint, NULL::bigint, NULL::text), 0)
    ])
    AND sender_id IS NOT DISTINCT FROM of_sender
    AND (account_id IS NULL OR account_id = of_account)
    AND (campaign_id IS NULL OR campaign_id = of_campaign)
    AND (isp IS NULL OR isp = of_isp)
$$;

-- hold_arrived: puts messages that the writer's statement has just written on hold if an active hold matches. It is
-- part of the writer's statement. The oldest matching hold holds the message.
-- held_messages stores the table's value for a message as an array of one text, in which NULL is a value. The column
-- itself is NULL for a message that a former release held. The first settings replace those of the writer for this
-- text, because it is read under the settings of the service: with other settings, 03/04 may be another day, and IST
-- another time zone.
-- The other settings make the plans independent of statistics, because a plan lives as long as the writer's session.
-- Messages are read by their key and written by their address. Holds are looked up once for each set of keys.
-- If a check or a trigger of the platform refuses the change, the message keeps its status, because a hold must not
-- make the writer's statement fail. The server's log contains the error. A job counts such messages as failed.
CREATE OR REPLACE FUNCTION "{schema}".hold_arrived(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $queuestats$
#variable_conflict use_column
<<own>>
DECLARE
  held_ids bigint[];
  held_senders bigint[];
  held_addresses tid[];
BEGIN
  WITH message AS MATERIALIZED (
    SELECT message.*
    FROM unnest(hold_arrived.ids) AS written (id)
      -- OFFSET 0 makes the planner read by the key, and by no other condition.
      CROSS JOIN LATERAL (SELECT * FROM "{queued}" AS known WHERE known.id = written.id OFFSET 0) AS message
    WHERE message.status IN ('new', 'retry')
  ), matching AS MATERIALIZED (
    SELECT key.*, hold.id AS hold_id
    FROM (SELECT DISTINCT sender_id, account_id, campaign_id, isp FROM message) AS key
      CROSS JOIN LATERAL (
        SELECT id FROM "{schema}".holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp)
        ORDER BY created_at, id LIMIT 1
      ) AS hold
  ), arrived AS MATERIALIZED (
    SELECT sender_id, id, address, status, hold_id, CAST(ARRAY[CAST(stored_status AS text)] AS text) AS stored_status
    FROM message INNER JOIN matching USING (sender_id, account_id, campaign_id, isp)
  ), kept AS (
    INSERT INTO "{schema}".held_messages (sender_id, id, former_status, stored_status, hold_id)
    -- An adopted table's key may not be unique, because its owner has chosen it. A duplicate must not be an error for a
    -- writer.
    SELECT DISTINCT ON (sender_id, id) sender_id, id, status, stored_status, hold_id FROM arrived
    ON CONFLICT (sender_id, id) DO UPDATE SET
      former_status = excluded.former_status, stored_status = excluded.stored_status, hold_id = excluded.hold_id
  )
  SELECT array_agg(arrived.id), array_agg(arrived.sender_id), array_agg(arrived.address)
  INTO held_ids, held_senders, held_addresses FROM arrived;
  IF held_addresses IS NOT NULL THEN
    -- Another row may have the same address in another partition. Only the expressions of the mapping name columns of
    -- the table, so a column of any name hides no variable.
    UPDATE "{messages}" AS queuestats_row SET
      "{stored_column}" = CAST("{schema}".stored_status('hold') AS "{stored_type}")
    FROM unnest(own.held_ids, own.held_senders) AS arrived (queuestats_id, queuestats_sender)
    WHERE queuestats_row.ctid = ANY (own.held_addresses)
      AND "{id}" = arrived.queuestats_id AND "{sender}" = arrived.queuestats_sender;
  END IF;
EXCEPTION
  WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR lock_not_available THEN
    RAISE;
  WHEN OTHERS THEN
    IF cardinality(ids) = 1 THEN
      RAISE LOG 'message % can''t be put on hold: %', ids[1], SQLERRM;
    ELSE
      PERFORM "{schema}".hold_arrived(ids[:cardinality(ids) / 2]);
      PERFORM "{schema}".hold_arrived(ids[cardinality(ids) / 2 + 1:]);
    END IF;
END
$queuestats$;

-- follow_held: deletes the rows of held_messages for messages that a statement has deleted or taken off hold. A message
-- that the statement has moved to another sender gets its former status back. The trigger of that update then finds out
-- whether a hold of the other sender matches it.
-- If the platform refuses that status, the message stays on hold, but under no hold of the service.
-- left_*: messages that were on hold under this sender before the statement, and are not after it. moved_*: messages
-- that are on hold under this sender after the statement, and were not before.
CREATE OR REPLACE FUNCTION "{schema}".follow_held(
  left_senders bigint[], left_ids bigint[], moved_senders bigint[], moved_ids bigint[]
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $queuestats$
#variable_conflict use_column
<<own>>
DECLARE
  forgotten "{schema}".held_messages[];
  moved record;
BEGIN
  WITH gone AS (
    DELETE FROM "{schema}".held_messages AS held
    USING unnest(left_senders, left_ids) AS message (sender_id, id)
    WHERE held.sender_id = message.sender_id AND held.id = message.id
      -- Another trigger of the table may have moved it back. OFFSET 0 makes the planner read by the key alone.
      AND NOT coalesce((
        SELECT bool_or(still.sender_id = held.sender_id AND still.status = 'hold')
        FROM (SELECT * FROM "{queued}" AS known WHERE known.id = held.id OFFSET 0) AS still
      ), false)
    RETURNING held.*
  )
  SELECT array_agg(CAST(ROW(gone.*) AS "{schema}".held_messages)) INTO forgotten FROM gone
  WHERE gone.id = ANY (moved_ids);
  FOR moved IN
    SELECT
      message.sender_id, held.id,
      CASE
        WHEN held.stored_status IS NOT NULL THEN (CAST(held.stored_status AS text[]))[1]
        ELSE CAST("{schema}".stored_status(held.former_status) AS text)
      END AS value
    FROM unnest(forgotten) AS held
      INNER JOIN unnest(moved_senders, moved_ids) AS message (sender_id, id) ON message.id = held.id
  LOOP
    BEGIN
      UPDATE "{messages}" AS queuestats_row SET "{stored_column}" = CAST(own.moved.value AS "{stored_type}")
      WHERE "{id}" = own.moved.id AND "{sender}" = own.moved.sender_id;
    EXCEPTION
      WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR lock_not_available THEN
        RAISE;
      WHEN OTHERS THEN
        RAISE LOG 'message % stays on hold: %', moved.id, SQLERRM;
    END;
  END LOOP;
END
$queuestats$;

DROP FUNCTION IF EXISTS "{schema}".holds_of("{schema}".queued_messages);
DROP FUNCTION IF EXISTS "{schema}".stored_text("{schema}".queued_messages);

REVOKE EXECUTE ON FUNCTION "{schema}".hold_arrived(bigint[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".follow_held(bigint[], bigint[], bigint[], bigint[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".holds_of(bigint, bigint, bigint, text) FROM PUBLIC;
