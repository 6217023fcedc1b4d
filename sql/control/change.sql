-- is_for: whether a job has to change a message. It becomes a part of the plan that calls it.
-- places: schema, message_status, queued, messages, id, sender, stored_column, stored_type
CREATE OR REPLACE FUNCTION "{schema}".is_for(
  job "{schema}".jobs,
  of_sender bigint, of_account bigint, of_campaign bigint, of_isp text, of_status "{message_status}"
) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT of_sender = job.sender_id
    AND (job.account_id IS NULL OR of_account = job.account_id)
    AND (job.campaign_id IS NULL OR of_campaign = job.campaign_id)
    AND (job.isp IS NULL OR of_isp = job.isp)
    AND (job.action = 'purge' OR job.action = 'hold' AND of_status IN ('new', 'retry')
      OR job.action = 'release' AND of_status = 'hold')
$$;

-- collect_job: stores the messages that a job has to change in job_chunks, some thousands in each chunk. Returns their
-- number. A purge with at_most takes no more than were counted.
CREATE OR REPLACE FUNCTION "{schema}".collect_job(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '64MB'
SET row_security = off SET jit = off AS $queuestats$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  matched bigint;
BEGIN
  WITH matching AS (
    SELECT id, address, (row_number() OVER () - 1) / chunk_rows AS number
    FROM "{queued}" AS message WHERE "{schema}".is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status
      )
      AND (job.action <> 'release' OR NOT EXISTS (
        SELECT FROM "{schema}".holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
      ))
    LIMIT CASE WHEN job.action = 'purge' THEN nullif(job.matched, 0) END
  ), written AS (
    INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
    SELECT job.id, number, array_agg(id), array_agg(address) FROM matching GROUP BY number
    RETURNING cardinality(ids) AS messages
  )
  SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  RETURN matched;
END
$queuestats$;

-- change_chunk: holds, releases or purges the messages of a chunk, as far as they still match and nobody else has them
-- locked. How many; and whether some are left, which are written down as another chunk.
-- Messages are read by their address, and known by their id: another message may stand there by now, and in each
-- partition stands one.
-- The settings keep statistics out of the plans: reads by address and by index, joins by hash table.
-- Statements that write name columns of the table in the mapping's expressions alone: arrivals.sql.
CREATE OR REPLACE FUNCTION "{schema}".change_chunk(
  job "{schema}".jobs, chunk "{schema}".job_chunks, OUT changed bigint, OUT has_left_some boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET row_security = off AS $queuestats$
#variable_conflict use_column
<<own>>
DECLARE
  free_ids bigint[];
  free_addresses tid[];
  free "{schema}".held_messages[];
  released_ids bigint[];
  released_values text[];
BEGIN
  changed := 0;
  has_left_some := false;
  -- A hold that was released or has expired while its job went on. The release waits for this transaction and looks
  -- once more, so it finds what is held after this look.
  IF job.action = 'hold' AND NOT EXISTS (SELECT FROM "{schema}".holds WHERE id = job.hold_id) THEN
    RETURN;
  END IF;

  SELECT array_agg(id), array_agg(address),
         array_agg(CAST((sender_id, id, status, stored) AS "{schema}".held_messages))
  INTO free_ids, free_addresses, free FROM (
    SELECT sender_id, id, address, status, CAST(ARRAY[CAST(message.stored_status AS text)] AS text) AS stored
    FROM "{queued}" AS message
    WHERE address = ANY (chunk.addresses) AND id IN (SELECT unnest(chunk.ids)) AND "{schema}".is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status
      )
      AND (job.action <> 'release' OR NOT EXISTS (
        SELECT FROM "{schema}".holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
      ))
    FOR UPDATE OF message SKIP LOCKED
  ) AS free;

  IF job.action = 'hold' THEN
    -- Rows of a former hold, whose messages were released by other means.
    DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    INSERT INTO "{schema}".held_messages SELECT * FROM unnest(free);
    UPDATE "{messages}" AS queuestats_row SET
      "{stored_column}" = CAST("{schema}".stored_status('hold') AS "{stored_type}")
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" IN (SELECT unnest(own.free_ids)) AND "{sender}" = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- What was put on hold by other means is new again; an expired hold leaves it.
    WITH held AS (
      DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids)
      RETURNING id, former_status, stored_status
    )
    SELECT array_agg(free.id), array_agg(
        CASE
          WHEN held.stored_status IS NOT NULL THEN (CAST(held.stored_status AS text[]))[1]
          ELSE CAST("{schema}".stored_status(coalesce(held.former_status, 'new')) AS text)
        END
      )
    INTO released_ids, released_values
    FROM unnest(free_ids) AS free (id) LEFT JOIN held USING (id)
    WHERE held.id IS NOT NULL OR job.requested_by_kind <> 'expiry';
    UPDATE "{messages}" AS queuestats_row SET "{stored_column}" = CAST(released.queuestats_value AS "{stored_type}")
    FROM unnest(own.released_ids, own.released_values)
      AS released (queuestats_id, queuestats_value)
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" = released.queuestats_id AND "{sender}" = job.sender_id;
  ELSE
    DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    DELETE FROM "{messages}" AS queuestats_row
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" IN (SELECT unnest(own.free_ids)) AND "{sender}" = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;

  -- What is locked, or was moved by an update meanwhile. Behind all other chunks, so whoever locks it is given time.
  IF coalesce(cardinality(free_ids), 0) < cardinality(chunk.ids) THEN
    INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
    SELECT
      job.id, (SELECT max(number) + 1 FROM "{schema}".job_chunks WHERE job_id = job.id),
      array_agg(id), array_agg(address)
    FROM "{queued}" AS message
    WHERE id = ANY (ARRAY(SELECT unnest(chunk.ids) EXCEPT SELECT unnest(free_ids))) AND "{schema}".is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status
      )
      AND (job.action <> 'release' OR NOT EXISTS (
        SELECT FROM "{schema}".holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
      ))
    HAVING count(*) > 0;
    has_left_some := FOUND;
  END IF;
END
$queuestats$;

DROP FUNCTION IF EXISTS "{schema}".is_for("{schema}".jobs, "{schema}".queued_messages);

REVOKE EXECUTE ON FUNCTION "{schema}".collect_job("{schema}".jobs) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".change_chunk("{schema}".jobs, "{schema}".job_chunks) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".is_for("{schema}".jobs, bigint, bigint, bigint, text, "{message_status}")
FROM PUBLIC;
