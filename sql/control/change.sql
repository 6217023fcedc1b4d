-- is_for: whether a job has to change this message. It becomes a part of the plan that calls it.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".is_for(job "{schema}".jobs, message "{schema}".queued_messages) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT message.sender_id = job.sender_id
    AND (job.account_id IS NULL OR message.account_id = job.account_id)
    AND (job.campaign_id IS NULL OR message.campaign_id = job.campaign_id)
    AND (job.isp IS NULL OR message.isp = job.isp)
    AND (job.action = 'purge' OR job.action = 'hold' AND message.status IN ('new', 'retry')
      OR job.action = 'release' AND message.status = 'hold')
$$;

-- collect_job: stores the messages that a job has to change in job_chunks, some thousands in each chunk. Returns their
-- number. A purge with at_most takes no more than were counted.
CREATE OR REPLACE FUNCTION "{schema}".collect_job(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '64MB'
SET row_security = off SET jit = off AS $$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  matched bigint;
BEGIN
  WITH matching AS (
    SELECT id, address, (row_number() OVER () - 1) / chunk_rows AS number
    FROM "{schema}".queued_messages AS message WHERE "{schema}".is_for(job, message)
      AND (job.action <> 'release' OR NOT EXISTS (SELECT FROM "{schema}".holds_of(message)))
    LIMIT CASE WHEN job.action = 'purge' THEN nullif(job.matched, 0) END
  ), written AS (
    INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
    SELECT job.id, number, array_agg(id), array_agg(address) FROM matching GROUP BY number
    RETURNING cardinality(ids) AS messages
  )
  SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  RETURN matched;
END
$$;

-- change_chunk: holds, releases or purges the messages of a chunk, as far as they still match and nobody else has them
-- locked. How many; and whether some are left, which are written down as another chunk.
-- Messages are read by their address, and known by their id: another message may stand there by now, and in each
-- partition stands one.
-- The settings keep statistics out of the plans: reads by address and by index, joins by hash table.
CREATE OR REPLACE FUNCTION "{schema}".change_chunk(
  job "{schema}".jobs, chunk "{schema}".job_chunks, OUT changed bigint, OUT has_left_some boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET row_security = off AS $$
#variable_conflict use_column
DECLARE
  free_ids bigint[];
  free_addresses tid[];
  free "{schema}".held_messages[];
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
    SELECT sender_id, id, address, status, "{schema}".stored_text(message) AS stored
    FROM "{schema}".queued_messages AS message
    WHERE address = ANY (chunk.addresses) AND id IN (SELECT unnest(chunk.ids)) AND "{schema}".is_for(job, message)
      AND (job.action <> 'release' OR NOT EXISTS (SELECT FROM "{schema}".holds_of(message)))
    FOR UPDATE OF message SKIP LOCKED
  ) AS free;

  IF job.action = 'hold' THEN
    -- Rows of a former hold, whose messages were released by other means.
    DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    INSERT INTO "{schema}".held_messages SELECT * FROM unnest(free);
    UPDATE "{schema}".queued_messages SET stored_status = "{schema}".stored_status('hold')
    WHERE address = ANY (free_addresses) AND id IN (SELECT unnest(free_ids)) AND sender_id = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- What was put on hold by other means is new again; an expired hold leaves it.
    WITH held AS (
      DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids)
      RETURNING id, former_status, stored_status
    )
    UPDATE "{schema}".queued_messages AS message
    SET stored_status = CASE
      WHEN held.stored_status IS NOT NULL THEN "{schema}".stored_value(held.stored_status)
      ELSE "{schema}".stored_status(coalesce(held.former_status, 'new'))
    END
    FROM unnest(free_ids) AS free (id) LEFT JOIN held USING (id)
    WHERE message.address = ANY (free_addresses) AND message.id = free.id AND message.sender_id = job.sender_id
      AND (held.id IS NOT NULL OR job.requested_by_kind <> 'expiry');
  ELSE
    DELETE FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND id = ANY (free_ids);
    DELETE FROM "{schema}".queued_messages
    WHERE address = ANY (free_addresses) AND id IN (SELECT unnest(free_ids)) AND sender_id = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;

  -- What is locked, or was moved by an update meanwhile. Behind all other chunks, so whoever locks it is given time.
  IF coalesce(cardinality(free_ids), 0) < cardinality(chunk.ids) THEN
    INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
    SELECT
      job.id, (SELECT max(number) + 1 FROM "{schema}".job_chunks WHERE job_id = job.id),
      array_agg(id), array_agg(address)
    FROM "{schema}".queued_messages AS message
    WHERE id = ANY (ARRAY(SELECT unnest(chunk.ids) EXCEPT SELECT unnest(free_ids))) AND "{schema}".is_for(job, message)
      AND (job.action <> 'release' OR NOT EXISTS (SELECT FROM "{schema}".holds_of(message)))
    HAVING count(*) > 0;
    has_left_some := FOUND;
  END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".collect_job("{schema}".jobs) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".change_chunk("{schema}".jobs, "{schema}".job_chunks) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".is_for("{schema}".jobs, "{schema}".queued_messages) FROM PUBLIC;
