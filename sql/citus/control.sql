-- Holds, jobs and the audit log on a node of a cluster. A node has the holds and jobs of the senders whose shards are
-- on the node, and only this node changes them. If a shard moves, its holds, jobs and entries of the log follow it.
--
-- Any process of the service can copy them. For each row of arrived_shards, it calls leaving() on another node,
-- receive() on this node, and leave() on the other node, until no other node has rows of the shard. Then it calls
-- complete() on this node. Each call is a transaction and can be repeated. If a process dies between two calls, no row
-- is lost, because the other node deletes only rows that this node has stored. Between the move and complete(), no node
-- changes the holds and jobs of the shard: away().
-- places: schema, messages, messages_oid

-- away: the reason why the holds and jobs of a sender can't be changed on this node now. NULL: they can be changed
-- until the transaction ends, because a move or a split of the shard waits for the lock. Call it in READ COMMITTED, so
-- that the check has a new snapshot, taken after the lock.
CREATE OR REPLACE FUNCTION "{schema}".away(of_sender bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  of_shard CONSTANT bigint := "{schema}".shard_of(of_sender);
BEGIN
  PERFORM lock_shard_metadata(5, ARRAY[of_shard]);
  RETURN (
    SELECT 'the move of its shard'
    WHERE NOT EXISTS (
        SELECT FROM "{schema}".placed() AS placed
          INNER JOIN pg_inherits ON inhrelid = to_regclass('public.messages_' || placed.shard)
        WHERE placed.shard = of_shard AND worker_hash(of_sender) BETWEEN lowest AND highest
          AND inhparent = "{messages_oid}"
      )
      OR EXISTS (SELECT FROM "{schema}".arrived_shards WHERE shard = of_shard)
      OR EXISTS (SELECT FROM "{schema}".unproved(ARRAY[of_shard]) WHERE state <> 'uncounted')
  );
EXCEPTION
  WHEN lock_not_available OR internal_error THEN RETURN 'the move of its shard';
END
$$;

-- require_control: raises QS409 if the holds and jobs of a shard are not on this node, or not all of them are.
CREATE OR REPLACE FUNCTION "{schema}".require_control(of_shard bigint) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM "{schema}".arrived_shards WHERE shard = of_shard)
    OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass('public.messages_' || of_shard))
    OR EXISTS (SELECT FROM "{schema}".unproved(ARRAY[of_shard]) WHERE state <> 'uncounted') THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'its shard is moving';
  END IF;
END
$$;

-- is_proven: whether the counts of all shards of the node can be read; on one machine, the counts of the table.
CREATE OR REPLACE FUNCTION "{schema}".is_proven() RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT NOT EXISTS (SELECT FROM "{schema}".unproved(ARRAY(SELECT shard FROM "{schema}".placed())))
$$;

-- require_left: raises QS409 unless the shard is on another node and its move is complete on this node. The shard can't
-- return before the transaction ends.
CREATE OR REPLACE FUNCTION "{schema}".require_left(of_shard bigint, low integer, high integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
  PERFORM lock_shard_metadata(5, ARRAY[of_shard]);
  IF EXISTS (
    SELECT FROM "{schema}".placed() WHERE lowest <= high AND highest >= low
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'the shard is here';
  END IF;
EXCEPTION
  WHEN lock_not_available OR internal_error THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'its shard is moving';
END
$$;

-- require_kept: raises an error for any table other than those that follow a shard.
CREATE OR REPLACE FUNCTION "{schema}".require_kept(kept_in text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF kept_in <> ALL (ARRAY['holds', 'held_messages', 'job_chunks', 'jobs', 'audit_log']) THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s does not follow a shard', kept_in);
  END IF;
END
$$;

-- kept_senders: the senders in a table whose hashes are in the range of a shard. It finds each next sender with the
-- index.
CREATE OR REPLACE FUNCTION "{schema}".kept_senders(of_table text, low integer, high integer) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'WITH RECURSIVE known (sender_id) AS ('
    '  (SELECT sender_id FROM "{schema}".%1$I ORDER BY sender_id LIMIT 1)'
    '  UNION ALL'
    '  SELECT (SELECT sender_id FROM "{schema}".%1$I AS other WHERE other.sender_id > known.sender_id'
    '          ORDER BY sender_id LIMIT 1)'
    '  FROM known WHERE sender_id IS NOT NULL'
    ') SELECT sender_id FROM known WHERE worker_hash(sender_id) BETWEEN $1 AND $2', of_table
  ) USING low, high;
END
$$;

-- leaving: some of the rows that this node has of a shard that is on another node. The hashes of the senders select the
-- rows. Returns the name of a table, and rows of it as JSON; no row if nothing is left. Chunks are returned without
-- addresses, because the addresses refer to the table of this node.
CREATE OR REPLACE FUNCTION "{schema}".leaving(of_shard bigint, low integer, high integer)
RETURNS TABLE (kept_in text, kept text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM "{schema}".require_left(of_shard, low, high);
  -- A chunk has no sender, so it is returned with its job. If the shard returns before all rows are copied, the node
  -- has both.
  FOREACH kept_in IN ARRAY ARRAY['holds', 'held_messages', 'job_chunks', 'jobs', 'audit_log'] LOOP
    IF kept_in = 'job_chunks' THEN
      SELECT jsonb_agg(part.chunk) INTO kept FROM (
        SELECT to_jsonb(chunk) || '{"addresses": []}' || jsonb_build_object('job', to_jsonb(jobs)) AS chunk
        FROM "{schema}".job_chunks AS chunk INNER JOIN "{schema}".jobs ON jobs.id = chunk.job_id
        WHERE sender_id IN (SELECT "{schema}".kept_senders('jobs', low, high)) LIMIT 20
      ) AS part;
    ELSE
      EXECUTE format(
        'SELECT jsonb_agg(to_jsonb(part)) FROM (SELECT * FROM "{schema}".%I WHERE sender_id = ANY ($1) LIMIT 2000)'
        ' AS part', kept_in
      ) INTO kept USING ARRAY(SELECT "{schema}".kept_senders(kept_in, low, high));
    END IF;
    IF kept IS NOT NULL THEN
      RETURN NEXT;
      RETURN;
    END IF;
  END LOOP;
END
$$;

-- receive: stores the rows that leaving() has returned, and keeps rows that this node already has. A message that is no
-- longer on hold needs no row in held_messages; the lock waits for writers that may end the hold of a message. After
-- complete(), it raises QS409 and stores nothing.
CREATE OR REPLACE FUNCTION "{schema}".receive(of_shard bigint, of_arrival bigint, kept_in text, kept text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
  still_held text := 'true';
BEGIN
  PERFORM "{schema}".require_kept(kept_in);
  PERFORM set_config('citus.enable_manual_changes_to_shards', 'on', true);
  IF kept_in = 'held_messages' THEN
    EXECUTE format('LOCK TABLE public.messages_%s IN SHARE MODE', of_shard);
    still_held := format(
      'EXISTS (SELECT FROM public.messages_%s AS message WHERE message.id = part.id'
      ' AND message.sender_id = part.sender_id AND status = ''hold'')', of_shard
    );
  END IF;
  PERFORM FROM "{schema}".arrived_shards WHERE shard = of_shard AND arrival = of_arrival FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'the shard is complete';
  END IF;
  IF kept_in = 'job_chunks' THEN
    INSERT INTO "{schema}".jobs OVERRIDING SYSTEM VALUE
    SELECT job.* FROM jsonb_array_elements(CAST(kept AS jsonb)) AS part
      CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS "{schema}".jobs), part -> 'job') AS job
    ON CONFLICT DO NOTHING;
  END IF;
  EXECUTE format(
    'INSERT INTO "{schema}".%1$I OVERRIDING SYSTEM VALUE'
    ' SELECT * FROM jsonb_populate_recordset(CAST(NULL AS "{schema}".%1$I), CAST($1 AS jsonb)) AS part WHERE %2$s'
    ' ON CONFLICT DO NOTHING', kept_in, still_held
  ) USING kept;
END
$$;

-- leave: deletes the rows that leaving() has returned, after the other node has stored them. The service may not delete
-- entries of senders whose shards are on this node.
CREATE OR REPLACE FUNCTION "{schema}".leave(
  of_shard bigint, low integer, high integer, kept_in text, kept text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM "{schema}".require_kept(kept_in), "{schema}".require_left(of_shard, low, high);
  EXECUTE format(
    'DELETE FROM "{schema}".%1$I WHERE (%2$s) IN ('
    '  SELECT %2$s FROM jsonb_populate_recordset(CAST(NULL AS "{schema}".%1$I), CAST($1 AS jsonb))'
    ') AND %3$s', kept_in,
    CASE kept_in WHEN 'held_messages' THEN 'sender_id, id' WHEN 'job_chunks' THEN 'job_id, number' ELSE 'id' END,
    CASE kept_in
      WHEN 'job_chunks' THEN 'job_id IN (SELECT id FROM "{schema}".jobs WHERE sender_id = ANY ($2))'
      ELSE 'sender_id = ANY ($2)'
    END
  ) USING kept, ARRAY(
    SELECT "{schema}".kept_senders(CASE kept_in WHEN 'job_chunks' THEN 'jobs' ELSE kept_in END, low, high)
  );
END
$$;

-- complete: marks the holds and jobs of the shard as complete, so that this node may change them. Returns false if they
-- were complete before. Messages that arrived since the move were not put on hold, so it begins a job for each hold.
CREATE OR REPLACE FUNCTION "{schema}".complete(of_shard bigint, of_arrival bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own CONSTANT "{schema}".shards := (SELECT shards FROM "{schema}".shards WHERE shard = of_shard);
  job "{schema}".jobs;
BEGIN
  DELETE FROM "{schema}".arrived_shards WHERE shard = of_shard AND arrival = of_arrival;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Chunks have addresses if the shard was split on this node, or has returned to it.
  UPDATE "{schema}".job_chunks SET addresses = '{}' WHERE job_id IN (
    SELECT id FROM "{schema}".jobs WHERE worker_hash(sender_id) BETWEEN own.lowest AND own.highest
  );
  FOR job IN
    INSERT INTO "{schema}".jobs (
      action, sender_id, account_id, campaign_id, isp, hold_id, requested_by_kind, requested_by, request_id
    )
    SELECT 'hold', sender_id, account_id, campaign_id, isp, id, 'command', 'queuestats', ''
    FROM "{schema}".holds WHERE worker_hash(sender_id) BETWEEN own.lowest AND own.highest
    RETURNING *
  LOOP
    PERFORM "{schema}".log_job(job, 'hold', 'its shard has moved');
  END LOOP;
  RETURN true;
END
$$;

-- The triggers of a shard do not fire if a statement names its parent.
CREATE OR REPLACE TRIGGER local_inserted AFTER INSERT ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_insert();
CREATE OR REPLACE TRIGGER local_updated AFTER UPDATE ON "{messages}"
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_update();
CREATE OR REPLACE TRIGGER local_deleted AFTER DELETE ON "{messages}"
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_delete();
ALTER TABLE "{messages}"
ENABLE ALWAYS TRIGGER local_inserted, ENABLE ALWAYS TRIGGER local_updated, ENABLE ALWAYS TRIGGER local_deleted;

-- On the coordinator, this moves the rows that the queue had before it was distributed, so that the nodes can copy
-- them. Entries of the log without a job stay, because they belong to no sender.
DO $$
DECLARE
  kept_in text;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_dist_local_group WHERE groupid = 0) OR to_regclass('queuestats.holds') IS NULL THEN
    RETURN;
  END IF;
  FOREACH kept_in IN ARRAY ARRAY['holds', 'held_messages', 'job_chunks', 'jobs', 'audit_log'] LOOP
    EXECUTE format(
      'WITH moved AS (DELETE FROM queuestats.%1$I WHERE %2$s RETURNING *)'
      ' INSERT INTO "{schema}".%1$I OVERRIDING SYSTEM VALUE'
      ' SELECT own.* FROM moved CROSS JOIN LATERAL'
      ' jsonb_populate_record(CAST(NULL AS "{schema}".%1$I), to_jsonb(moved)) AS own',
      kept_in, CASE kept_in WHEN 'audit_log' THEN 'job_id IS NOT NULL' ELSE 'true' END
    );
  END LOOP;
END
$$;

-- The ids of holds, jobs and entries of the log start at the number of the node's group times 10,000,000,000, so that
-- they are unique in the cluster, also after a move.
DO $$
DECLARE
  least_number CONSTANT bigint := (SELECT groupid FROM pg_dist_local_group) * 10000000000;
  sequence regclass;
BEGIN
  FOREACH sequence IN ARRAY ARRAY[
    pg_get_serial_sequence('"{schema}".holds', 'id')::regclass,
    pg_get_serial_sequence('"{schema}".jobs', 'id')::regclass,
    pg_get_serial_sequence('"{schema}".audit_log', 'id')::regclass
  ] LOOP
    IF coalesce(pg_sequence_last_value(sequence), 0) < least_number THEN
      PERFORM setval(sequence, least_number);
    END IF;
  END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".away(bigint), "{schema}".require_control(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".leaving(bigint, integer, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".receive(bigint, bigint, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".leave(bigint, integer, integer, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".complete(bigint, bigint) FROM PUBLIC;
