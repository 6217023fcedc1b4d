-- is_for: whether a job has to change a message. held_by: the hold of the message in held_messages. hold: the same
-- hold, if it is active. Inlined by the planner.
-- A release changes the messages of the holds that it ended, also if these messages moved to other keys. A release by
-- filter also changes messages that are on hold under no active hold. A purge skips the messages of holds that its
-- token may not end.
-- places: schema, message_status, queued, messages, id, sender, stored_column, stored_type
DROP FUNCTION IF EXISTS "{schema}".is_for("{schema}".jobs, bigint, bigint, bigint, text, "{message_status}");
CREATE OR REPLACE FUNCTION "{schema}".is_for(
  job "{schema}".jobs, of_sender bigint, of_account bigint, of_campaign bigint, of_isp text,
  of_status "{message_status}", held_by bigint, hold "{schema}".holds
) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT of_sender = job.sender_id AND CASE
      WHEN held_by = ANY (job.ended_holds) THEN job.action = 'release' AND of_status = 'hold'
      ELSE (job.account_id IS NULL OR of_account = job.account_id)
        AND (job.campaign_id IS NULL OR of_campaign = job.campaign_id)
        AND (job.isp IS NULL OR of_isp = job.isp)
        AND CASE job.action
          WHEN 'hold' THEN of_status IN ('new', 'retry')
          WHEN 'release' THEN of_status = 'hold' AND job.hold_id IS NULL AND hold.id IS NULL
          ELSE hold.id IS NULL OR "{schema}".may_end(hold, job.sender_limits, job.account_limits)
        END
    END
$$;

-- collect_job: stores the messages that a job has to change in job_chunks, some thousands in each chunk. Returns their
-- number. A purge with at_most collects at most the number that was counted.
-- Messages of ended holds are known only by id, so their chunk has no addresses. So an expiry of any size begins at
-- once.
CREATE OR REPLACE FUNCTION "{schema}".collect_job(job "{schema}".jobs) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '64MB'
SET row_security = off SET jit = off AS $queuestats$
DECLARE
  chunk_rows CONSTANT integer := 5000;
  first_number CONSTANT bigint := coalesce(
    (SELECT max(number) + 1 FROM "{schema}".job_chunks WHERE job_id = job.id), 0
  );
  of_ended_holds bigint := 0;
  matched bigint := 0;
BEGIN
  IF job.action = 'release' THEN
    WITH matching AS (
      SELECT id, (row_number() OVER () - 1) / chunk_rows AS number
      FROM "{schema}".held_messages WHERE sender_id = job.sender_id AND hold_id = ANY (job.ended_holds)
    ), written AS (
      INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
      SELECT job.id, first_number + number, array_agg(id), '{}' FROM matching GROUP BY number
      RETURNING number, cardinality(ids) AS messages
    )
    SELECT coalesce(sum(messages), 0) INTO of_ended_holds FROM written;
  END IF;
  IF job.action <> 'release' OR job.hold_id IS NULL THEN
    WITH matching AS (
      SELECT message.id, message.address, (row_number() OVER () - 1) / chunk_rows AS number
      FROM "{queued}" AS message
        LEFT JOIN "{schema}".held_messages AS held
          ON job.action <> 'hold' AND held.sender_id = message.sender_id AND held.id = message.id
        LEFT JOIN "{schema}".holds AS hold ON hold.id = held.hold_id
      WHERE "{schema}".is_for(
          job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
          hold
        )
        AND (job.action <> 'release' OR (held.hold_id = ANY (job.ended_holds)) IS NOT TRUE)
      LIMIT CASE WHEN job.action = 'purge' THEN nullif(job.matched, 0) END
    ), written AS (
      INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
      SELECT job.id, first_number + of_ended_holds + number, array_agg(id), array_agg(address)
      FROM matching GROUP BY number
      RETURNING cardinality(ids) AS messages
    )
    SELECT coalesce(sum(messages), 0) INTO matched FROM written;
  END IF;
  RETURN of_ended_holds + matched;
END
$queuestats$;

-- change_messages: holds, releases or purges these messages if they still match and no other transaction has locked
-- them. Returns how many were changed, and which were not locked.
-- Messages are read by their address and identified by their id, because another message may have that address by now,
-- and several partitions may use the same address. Messages without an address are looked up by id.
-- Deferred constraints are checked here, so that an error is attributed to these messages and does not occur at the
-- commit.
-- The settings make the plans independent of statistics: reads by address and by index, joins by hash table. Look-ups
-- by id are behind OFFSET 0, so that no other condition determines the index.
-- Statements that write name columns of the table only in the mapping's expressions: see arrivals.sql.
CREATE OR REPLACE FUNCTION "{schema}".change_messages(
  job "{schema}".jobs, of_ids bigint[], of_addresses tid[], OUT changed bigint, OUT free_ids bigint[]
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET row_security = off AS $queuestats$
#variable_conflict use_column
<<own>>
DECLARE
  free_addresses tid[];
  -- The former or the new content of held_messages for these messages. For a release, hold_id is another hold that
  -- matches.
  free "{schema}".held_messages[];
  released_ids bigint[];
  released_values text[];
BEGIN
  IF of_addresses = '{}' THEN
    of_addresses := ARRAY(
      SELECT message.address FROM unnest(of_ids) AS wanted (id)
        CROSS JOIN LATERAL (SELECT * FROM "{queued}" AS known WHERE known.id = wanted.id OFFSET 0) AS message
    );
  END IF;
  SELECT array_agg(id), array_agg(address),
         array_agg(CAST((sender_id, id, former, stored, hold_id) AS "{schema}".held_messages))
  INTO free_ids, free_addresses, free FROM (
    SELECT
      message.sender_id, message.id, message.address,
      CASE job.action WHEN 'hold' THEN message.status ELSE held.former_status END AS former,
      CASE job.action
        WHEN 'hold' THEN CAST(ARRAY[CAST(message.stored_status AS text)] AS text) ELSE held.stored_status
      END AS stored,
      CASE job.action WHEN 'hold' THEN job.hold_id WHEN 'release' THEN (
        SELECT id
        FROM "{schema}".holds_of(message.sender_id, message.account_id, message.campaign_id, message.isp)
        ORDER BY created_at, id LIMIT 1
      ) END AS hold_id
    FROM "{queued}" AS message
      LEFT JOIN (
        SELECT held.* FROM unnest(of_ids) AS wanted (id)
          CROSS JOIN LATERAL (
            SELECT * FROM "{schema}".held_messages AS known
            WHERE known.sender_id = job.sender_id AND known.id = wanted.id OFFSET 0
          ) AS held
        WHERE job.action <> 'hold'
      ) AS held ON held.id = message.id
      LEFT JOIN "{schema}".holds AS hold ON hold.id = held.hold_id
    WHERE message.address = ANY (of_addresses) AND message.id IN (SELECT unnest(of_ids)) AND "{schema}".is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
        hold
      )
    FOR UPDATE OF message SKIP LOCKED
  ) AS free;

  IF job.action = 'hold' THEN
    -- Rows of a former hold, whose messages were released while no trigger was active.
    DELETE FROM "{schema}".held_messages AS held WHERE held.ctid = ANY (ARRAY(
      SELECT former.ctid FROM unnest(free_ids) AS wanted (id)
        CROSS JOIN LATERAL (
          SELECT ctid FROM "{schema}".held_messages AS known
          WHERE known.sender_id = job.sender_id AND known.id = wanted.id OFFSET 0
        ) AS former
    ));
    INSERT INTO "{schema}".held_messages SELECT * FROM unnest(free);
    UPDATE "{messages}" AS queuestats_row SET
      "{stored_column}" = CAST("{schema}".stored_status('hold') AS "{stored_type}")
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" IN (SELECT unnest(change_messages.free_ids)) AND "{sender}" = job.sender_id;
  ELSIF job.action = 'release' THEN
    -- If another hold matches a message, that hold now holds it. A message that the platform put on hold stays on hold
    -- if another hold matches or if the hold has expired; otherwise it becomes new.
    INSERT INTO "{schema}".held_messages
    SELECT * FROM unnest(free) WHERE hold_id IS NOT NULL AND former_status IS NOT NULL
    ON CONFLICT (sender_id, id) DO UPDATE SET hold_id = excluded.hold_id;
    SELECT array_agg(id), array_agg(
        CASE
          WHEN stored_status IS NOT NULL THEN (CAST(stored_status AS text[]))[1]
          ELSE CAST("{schema}".stored_status(coalesce(former_status, 'new')) AS text)
        END
      )
    INTO released_ids, released_values
    FROM unnest(free)
    WHERE hold_id IS NULL AND (former_status IS NOT NULL OR job.requested_by_kind <> 'expiry');
    -- The trigger deletes their rows in held_messages.
    UPDATE "{messages}" AS queuestats_row SET "{stored_column}" = CAST(released.queuestats_value AS "{stored_type}")
    FROM unnest(own.released_ids, own.released_values)
      AS released (queuestats_id, queuestats_value)
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" = released.queuestats_id AND "{sender}" = job.sender_id;
  ELSE
    DELETE FROM "{messages}" AS queuestats_row
    WHERE queuestats_row.ctid = ANY (own.free_addresses)
      AND "{id}" IN (SELECT unnest(change_messages.free_ids)) AND "{sender}" = job.sender_id;
  END IF;
  GET DIAGNOSTICS changed = ROW_COUNT;
  SET CONSTRAINTS ALL IMMEDIATE;
END
$queuestats$;

-- change_chunk: change_messages for a chunk. If one of its messages can't be changed (because of a foreign key, a check
-- or a trigger that raises an error), it runs for each message separately. A large chunk is split first, so that no
-- step takes long.
-- has_left_some: messages that were locked, or that a concurrent update moved, are stored as another chunk.
-- failed, error: how many messages can't be changed, and the error of the first of them.
-- Errors that do not depend on a message (a deadlock, a full disk) are raised.
DROP FUNCTION IF EXISTS "{schema}".change_chunk("{schema}".jobs, "{schema}".job_chunks);
CREATE OR REPLACE FUNCTION "{schema}".change_chunk(
  job "{schema}".jobs, chunk "{schema}".job_chunks, is_by_message boolean,
  OUT changed bigint, OUT has_left_some boolean, OUT failed bigint, OUT error text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET row_security = off SET jit = off AS $queuestats$
#variable_conflict use_column
DECLARE
  most_by_message CONSTANT integer := 100;
  next_number bigint := (SELECT max(number) + 1 FROM "{schema}".job_chunks WHERE job_id = job.id);
  done bigint[] := '{}';
  part record;
  n integer;
BEGIN
  changed := 0;
  failed := 0;
  has_left_some := false;
  -- The hold was released or has expired while its job was running. The release waits for this transaction and then
  -- collects again, so it finds messages that are held after this check.
  IF job.action = 'hold' AND NOT EXISTS (SELECT FROM "{schema}".holds WHERE id = job.hold_id) THEN
    RETURN;
  END IF;
  FOR n IN 1..CASE WHEN is_by_message THEN cardinality(chunk.ids) ELSE 1 END LOOP
    BEGIN
      part := "{schema}".change_messages(
        job,
        CASE WHEN is_by_message THEN chunk.ids[n:n] ELSE chunk.ids END,
        CASE WHEN is_by_message THEN chunk.addresses[n:n] ELSE chunk.addresses END
      );
      changed := changed + part.changed;
      done := done || part.free_ids;
    EXCEPTION
      WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR system_error
        OR lock_not_available THEN
        RAISE;
      WHEN OTHERS THEN
        error := coalesce(error, SQLERRM);
        IF NOT is_by_message THEN
          EXIT;
        END IF;
        failed := failed + 1;
        done := done || chunk.ids[n];
    END;
  END LOOP;
  IF error IS NOT NULL AND NOT is_by_message THEN
    IF cardinality(chunk.ids) > most_by_message THEN
      INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
      SELECT
        job.id, next_number + number, array_agg(id), array_remove(array_agg(address), NULL)
      FROM (
        SELECT id, address, (ordinality - 1) / most_by_message AS number
        FROM unnest(chunk.ids, chunk.addresses) WITH ORDINALITY AS message (id, address, ordinality)
      ) AS message
      GROUP BY number;
      error := NULL;
    ELSE
      SELECT * INTO changed, has_left_some, failed, error FROM "{schema}".change_chunk(job, chunk, true);
    END IF;
    RETURN;
  END IF;

  -- After all other chunks, which gives the transaction that has the locks time to end.
  IF cardinality(done) < cardinality(chunk.ids) THEN
    INSERT INTO "{schema}".job_chunks (job_id, number, ids, addresses)
    SELECT job.id, next_number, array_agg(message.id), array_agg(message.address)
    FROM "{queued}" AS message
      LEFT JOIN "{schema}".held_messages AS held
        ON job.action <> 'hold' AND held.sender_id = message.sender_id AND held.id = message.id
      LEFT JOIN "{schema}".holds AS hold ON hold.id = held.hold_id
    WHERE message.id = ANY (ARRAY(SELECT unnest(chunk.ids) EXCEPT SELECT unnest(done))) AND "{schema}".is_for(
        job, message.sender_id, message.account_id, message.campaign_id, message.isp, message.status, held.hold_id,
        hold
      )
    HAVING count(*) > 0;
    has_left_some := FOUND;
  END IF;
END
$queuestats$;

DROP FUNCTION IF EXISTS "{schema}".is_for("{schema}".jobs, "{schema}".queued_messages);

REVOKE EXECUTE ON FUNCTION "{schema}".collect_job("{schema}".jobs) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".change_messages("{schema}".jobs, bigint[], tid[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".change_chunk("{schema}".jobs, "{schema}".job_chunks, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".is_for(
  "{schema}".jobs, bigint, bigint, bigint, text, "{message_status}", bigint, "{schema}".holds
) FROM PUBLIC;
