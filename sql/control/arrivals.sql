-- holds_of: the active holds that match a message. It becomes a part of the plan that calls it.
-- places: schema, queued, messages, id, sender, stored_column, stored_type
CREATE OR REPLACE FUNCTION "{schema}".holds_of(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text)
RETURNS SETOF "{schema}".holds
LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".holds
  WHERE sender_id = of_sender
    AND (account_id IS NULL OR account_id = of_account)
    AND (campaign_id IS NULL OR campaign_id = of_campaign)
    AND (isp IS NULL OR isp = of_isp)
$$;

-- hold_arrived: puts these messages, which the writer's statement has just written, on hold where an active hold
-- matches. It is part of the writer's statement. A writer without an active hold for its senders pays for one look at
-- the active holds.
-- held_messages keeps what the table holds for a message as an array of one text: in an array NULL is a value; the
-- column itself is NULL for a message that a former release held. The settings keep the writer's own out of the text:
-- it is read back under those of the service, where 03/04 may be another day and IST another zone.
CREATE OR REPLACE FUNCTION "{schema}".hold_arrived(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 AS $queuestats$
#variable_conflict use_column
<<own>>
DECLARE
  held_ids bigint[];
  held_senders bigint[];
BEGIN
  WITH arrived AS (
    INSERT INTO "{schema}".held_messages (sender_id, id, former_status, stored_status)
    -- A key that an adopted table's owner has chosen may not be unique: no error for a writer.
    SELECT DISTINCT ON (message.sender_id, message.id)
      message.sender_id, message.id, message.status, CAST(ARRAY[CAST(message.stored_status AS text)] AS text)
    FROM "{queued}" AS message
    WHERE message.id = ANY (hold_arrived.ids) AND message.status IN ('new', 'retry') AND EXISTS (
      SELECT FROM "{schema}".holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
    )
    ON CONFLICT (sender_id, id) DO UPDATE SET
      former_status = excluded.former_status, stored_status = excluded.stored_status
    RETURNING sender_id, id
  )
  SELECT array_agg(arrived.id), array_agg(arrived.sender_id) INTO held_ids, held_senders FROM arrived;
  -- Only the mapping's expressions name columns of the table; whatever these are called, they hide no variable.
  UPDATE "{messages}" AS queuestats_row SET
    "{stored_column}" = CAST("{schema}".stored_status('hold') AS "{stored_type}")
  FROM unnest(own.held_ids, own.held_senders) AS arrived (queuestats_id, queuestats_sender)
  WHERE "{id}" = arrived.queuestats_id AND "{sender}" = arrived.queuestats_sender;
END
$queuestats$;

DROP FUNCTION IF EXISTS "{schema}".holds_of("{schema}".queued_messages);
DROP FUNCTION IF EXISTS "{schema}".stored_text("{schema}".queued_messages);

REVOKE EXECUTE ON FUNCTION "{schema}".hold_arrived(bigint[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".holds_of(bigint, bigint, bigint, text) FROM PUBLIC;
