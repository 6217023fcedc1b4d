-- record_row: what record_insert, record_update and record_delete do, for one row: for a partitioned table. PostgreSQL
-- gives a new partition the row triggers of its table by itself, and no statement trigger.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".record_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  arrived bigint[];
BEGIN
  IF TG_RELID <> "{schema}".messages_table() THEN
    PERFORM "{schema}".require_part_of_messages(TG_RELID);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
    SELECT sender_id, account_id, campaign_id, isp,
           -(status = 'new')::int, -(status = 'proc')::int, -(status = 'retry')::int, -(status = 'hold')::int
    FROM "{schema}".message_of(OLD);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
    SELECT sender_id, account_id, campaign_id, isp,
           (status = 'new')::int, (status = 'proc')::int, (status = 'retry')::int, (status = 'hold')::int
    FROM "{schema}".message_of(NEW);
    arrived := ARRAY(
      SELECT id FROM "{schema}".message_of(NEW) AS message
      WHERE status IN ('new', 'retry') AND EXISTS (SELECT FROM "{schema}".holds WHERE sender_id = message.sender_id)
    );
    IF cardinality(arrived) > 0 THEN
      PERFORM "{schema}".hold_arrived(arrived);
    END IF;
  END IF;
  RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".record_row() FROM PUBLIC;
