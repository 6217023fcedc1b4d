-- holds_of: the active holds that match this message. It becomes a part of the plan that calls it.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".holds_of(message "{schema}".queued_messages) RETURNS SETOF "{schema}".holds
LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".holds
  WHERE sender_id = message.sender_id
    AND (account_id IS NULL OR account_id = message.account_id)
    AND (campaign_id IS NULL OR campaign_id = message.campaign_id)
    AND (isp IS NULL OR isp = message.isp)
$$;

-- stored_text: what the table holds for this message, as held_messages keeps it: an array of one text. In an array NULL
-- is a value; the column itself is NULL for a message that a former release held.
-- The settings keep the writer's own out of it: the text is read back under those of the service, where 03/04 may be
-- another day and IST another zone.
CREATE OR REPLACE FUNCTION "{schema}".stored_text(message "{schema}".queued_messages) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 AS $$
  SELECT CAST(ARRAY[CAST(message.stored_status AS text)] AS text)
$$;

-- hold_arrived: puts these messages, which the writer's statement has just written, on hold where an active hold
-- matches. It is part of the writer's statement. A writer without an active hold for its senders pays for one look at
-- the active holds.
CREATE OR REPLACE FUNCTION "{schema}".hold_arrived(ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  WITH arrived AS (
    INSERT INTO "{schema}".held_messages (sender_id, id, former_status, stored_status)
    -- A key that an adopted table's owner has chosen may not be unique: no error for a writer.
    SELECT DISTINCT ON (sender_id, id) sender_id, id, status, "{schema}".stored_text(message)
    FROM "{schema}".queued_messages AS message
    WHERE id = ANY (ids) AND status IN ('new', 'retry') AND EXISTS (SELECT FROM "{schema}".holds_of(message))
    ON CONFLICT (sender_id, id) DO UPDATE SET
      former_status = excluded.former_status, stored_status = excluded.stored_status
    RETURNING sender_id, id
  )
  UPDATE "{schema}".queued_messages AS message SET stored_status = "{schema}".stored_status('hold') FROM arrived
  WHERE message.id = arrived.id AND message.sender_id = arrived.sender_id;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".hold_arrived(bigint[]), "{schema}".holds_of("{schema}".queued_messages),
"{schema}".stored_text("{schema}".queued_messages) FROM PUBLIC;
