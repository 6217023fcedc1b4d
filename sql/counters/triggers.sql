-- record_insert, record_update, record_delete: record in the writer's own transaction by how much the counts of each
-- key changed, as one delta for each key and statement. They update no row, so writers never wait for each other here.
--
-- SECURITY DEFINER: a writer needs only rights on messages.
-- The other settings make the plan independent of the writer's settings, because the plan lives as long as the session.
-- Grouping in a hash table is a third cheaper than sorting, and the plan stays cheap even if the session's first
-- statement was huge.
--
-- counted_table: the table whose changes are counted; on a node of a cluster, every table that has these triggers.
-- new_rows, old_rows: the transition tables as messages. try_new_rows, try_old_rows: for an adopted table, end the
-- trigger if its mapping can't be evaluated, and call remember_uncounted.
-- places: schema, messages_oid, counted_table, queued, new_rows, old_rows, try_new_rows, try_old_rows

-- Any role could attach an executable trigger function to a table of its own, and record changes that never happened
-- with the owner's rights. So PUBLIC may not execute these functions, and they refuse every table except messages and
-- its partitions. is_part_of_messages: false for an adopted table that was renamed: its writers continue, and the
-- counters are not trusted any more.
CREATE OR REPLACE FUNCTION "{schema}".is_part_of_messages(of_table oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_partition_root(of_table) = "{messages_oid}" THEN
    RETURN true;
  ELSIF NOT EXISTS (SELECT FROM "{schema}".adopted) THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s is not counted here', of_table::regclass);
  END IF;
  PERFORM "{schema}".remember_uncounted() FROM "{schema}".baseline
  WHERE triggers && ARRAY(SELECT hash_record_extended(ROW(oid, xmin), 0) FROM pg_trigger WHERE tgrelid = of_table);
  RETURN false;
END
$$;

-- remember_uncounted: makes the counters of an adopted table untrusted, from the end of this transaction until all
-- messages are recounted. Each transaction adds a row of its own, so it waits for no other writer and does not fail.
CREATE OR REPLACE FUNCTION "{schema}".remember_uncounted() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO "{schema}".uncounted_writes (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
END
$$;

CREATE OR REPLACE FUNCTION "{schema}".record_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET enable_seqscan = off
SET jit = off AS $queuestats$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM "{counted_table}" AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  "{try_new_rows}"
  INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest)
  SELECT sender_id, account_id, campaign_id, isp,
         count(*) FILTER (WHERE status = 'new'),
         count(*) FILTER (WHERE status = 'proc'),
         count(*) FILTER (WHERE status = 'retry'),
         count(*) FILTER (WHERE status = 'hold'),
         min(created_at)
  FROM "{new_rows}"
  GROUP BY sender_id, account_id, campaign_id, isp;
  PERFORM FROM (SELECT DISTINCT sender_id FROM "{new_rows}" WHERE status IN ('new', 'retry')) AS arrived
    CROSS JOIN LATERAL (SELECT FROM "{schema}".holds WHERE holds.sender_id = arrived.sender_id LIMIT 1) AS hold
  LIMIT 1;
  IF FOUND THEN
    PERFORM "{schema}".hold_arrived(array_agg(id)) FROM (
      SELECT unnest(key.ids) AS id FROM (
        SELECT sender_id, account_id, campaign_id, isp, array_agg(id) AS ids
        FROM "{new_rows}" WHERE status IN ('new', 'retry') GROUP BY sender_id, account_id, campaign_id, isp
      ) AS key
        CROSS JOIN LATERAL (
          SELECT FROM "{schema}".holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp) LIMIT 1
        ) AS hold
    ) AS held
    HAVING count(*) > 0;
  END IF;
  RETURN NULL;
END
$queuestats$;

CREATE OR REPLACE FUNCTION "{schema}".record_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET enable_seqscan = off
SET jit = off AS $queuestats$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM "{counted_table}" AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  "{try_old_rows}"
  INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, account_id, campaign_id, isp,
         -count(*) FILTER (WHERE status = 'new'),
         -count(*) FILTER (WHERE status = 'proc'),
         -count(*) FILTER (WHERE status = 'retry'),
         -count(*) FILTER (WHERE status = 'hold')
  FROM "{old_rows}"
  GROUP BY sender_id, account_id, campaign_id, isp;
  IF EXISTS (SELECT FROM "{old_rows}" WHERE status = 'hold') THEN
    PERFORM "{schema}".follow_held(array_agg(sender_id), array_agg(id), NULL, NULL)
    FROM "{old_rows}" WHERE status = 'hold';
  END IF;
  RETURN NULL;
END
$queuestats$;

-- An update is what left and what came. A key has no delta if both cancel out, what came has one status, and what left
-- was as old: then the bound of this status holds for what came too (bounds.sql).
-- net: a message that changes its key leaves one key and arrives at another, and stays with its sender. The net change
-- of the sender is in the first row of its keys that gained or lost messages; it is 0 in the others. If it is NULL, the
-- total of the row is also the change of the sender.
CREATE OR REPLACE FUNCTION "{schema}".record_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET enable_seqscan = off
SET jit = off AS $queuestats$
#variable_conflict use_column
BEGIN
  IF TG_RELID IS DISTINCT FROM "{counted_table}" AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  "{try_new_rows}"
  INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest, came, net)
  SELECT sender_id, account_id, campaign_id, isp, delta.new, delta.proc, delta.retry, delta.hold, oldest, came,
         CASE WHEN total <> 0 THEN
           CASE WHEN row_number() OVER of_sender = 1 THEN sum(total) OVER of_sender ELSE 0 END
         END
  FROM (
    SELECT sender_id, account_id, campaign_id, isp, sum(sign) AS total,
           sum(CASE status WHEN 'new' THEN sign ELSE 0 END) AS new,
           sum(CASE status WHEN 'proc' THEN sign ELSE 0 END) AS proc,
           sum(CASE status WHEN 'retry' THEN sign ELSE 0 END) AS retry,
           sum(CASE status WHEN 'hold' THEN sign ELSE 0 END) AS hold,
           min(arrived_at) AS oldest, min(left_at) AS oldest_left,
           bit_or(CASE WHEN sign > 0 THEN
             CASE status WHEN 'new' THEN 1 WHEN 'proc' THEN 2 WHEN 'retry' THEN 4 ELSE 8 END
           END) AS came
    FROM (
      SELECT sender_id, account_id, campaign_id, isp, status, 1 AS sign,
             created_at AS arrived_at, CAST(NULL AS timestamp with time zone) AS left_at
      FROM "{new_rows}"
      UNION ALL
      SELECT sender_id, account_id, campaign_id, isp, status, -1, NULL, created_at FROM "{old_rows}"
    ) AS message
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS delta
  WHERE delta.new <> 0 OR delta.proc <> 0 OR delta.retry <> 0 OR delta.hold <> 0
    OR oldest < coalesce(oldest_left, 'infinity') OR came NOT IN (1, 2, 4, 8)
  WINDOW of_sender AS (PARTITION BY sender_id, total <> 0);
  IF EXISTS (SELECT FROM "{old_rows}" WHERE status = 'hold') THEN
    PERFORM "{schema}".follow_held(
      array_agg(sender_id) FILTER (WHERE was_held), array_agg(id) FILTER (WHERE was_held),
      array_agg(sender_id) FILTER (WHERE NOT was_held), array_agg(id) FILTER (WHERE NOT was_held)
    ) FROM (
      SELECT sender_id, id, bool_or(is_old) AS was_held FROM (
        SELECT sender_id, id, true AS is_old FROM "{old_rows}" WHERE status = 'hold'
        UNION ALL
        SELECT sender_id, id, false AS is_old FROM "{new_rows}" WHERE status = 'hold'
      ) AS held
      GROUP BY sender_id, id HAVING count(*) = 1
    ) AS changed;
  END IF;
  PERFORM FROM (SELECT DISTINCT sender_id FROM "{new_rows}" WHERE status IN ('new', 'retry')) AS arrived
    CROSS JOIN LATERAL (SELECT FROM "{schema}".holds WHERE holds.sender_id = arrived.sender_id LIMIT 1) AS hold
  LIMIT 1;
  IF FOUND THEN
    PERFORM "{schema}".hold_arrived(array_agg(id)) FROM (
      SELECT unnest(key.ids) AS id FROM (
        SELECT sender_id, account_id, campaign_id, isp, array_agg(id) AS ids
        FROM "{new_rows}" WHERE status IN ('new', 'retry') GROUP BY sender_id, account_id, campaign_id, isp
      ) AS key
        CROSS JOIN LATERAL (
          SELECT FROM "{schema}".holds_of(key.sender_id, key.account_id, key.campaign_id, key.isp) LIMIT 1
        ) AS hold
    ) AS held
    HAVING count(*) > 0;
  END IF;
  RETURN NULL;
END
$queuestats$;

-- TRUNCATE has no transition table, so all counts are deleted. It holds an exclusive lock on messages, so all other
-- deltas are committed. The fold's lock comes first: otherwise a running fold would add its sums again afterwards.
-- Counts are removed by DELETE, which blocks no reader, even if the transaction is open for long. Until it commits,
-- readers get the counts from before.
-- A transaction with one snapshot for all its statements can't delete rows that were written since that snapshot. In
-- this case the row in fold_lock makes clear_counts delete them with a TRUNCATE at the very end of the transaction, so
-- that the lock on the counters that blocks readers is held only briefly.
-- The watermarks stay, because it is still true that no delta is left below them.
CREATE OR REPLACE FUNCTION "{schema}".record_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_RELID IS DISTINCT FROM "{messages_oid}" AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  -- A TRUNCATE of a partition would delete all counts with it.
  ELSIF TG_RELID <> "{messages_oid}" THEN
    RAISE insufficient_privilege USING MESSAGE = format('%s is not counted here', TG_RELID::regclass);
  END IF;
  LOCK TABLE "{schema}".fold_lock IN EXCLUSIVE MODE;
  IF current_setting('transaction_isolation') = 'read committed' THEN
    PERFORM "{schema}".record_leaving();
  ELSE
    BEGIN
      -- The messages that leave may not be in the snapshot.
      PERFORM "{schema}".begin_history(0);
    EXCEPTION WHEN serialization_failure THEN
      NULL; -- A rebuild since the snapshot began the history at the same time.
    END;
  END IF;
  BEGIN
    DELETE FROM "{schema}".counters;
    DELETE FROM "{schema}".deltas;
    DELETE FROM "{schema}".held_messages;
  EXCEPTION WHEN serialization_failure THEN
    -- Another transaction has folded since the snapshot.
    DELETE FROM "{schema}".deltas WHERE xid = pg_current_xact_id();
  END;
  BEGIN
    DELETE FROM "{schema}".sender_totals;
  EXCEPTION WHEN serialization_failure THEN
    NULL; -- For the same reason; clear_counts deletes them.
  END;
  BEGIN
    DELETE FROM "{schema}".bounds WHERE sender_id <> 0;
  EXCEPTION WHEN serialization_failure THEN
    NULL; -- For the same reason. A bound that is too early is not wrong.
  END;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    INSERT INTO "{schema}".fold_lock DEFAULT VALUES;
  END IF;
  RETURN NULL;
END
$$;

-- clear_counts: empties the counters, the deltas and held_messages, except what this transaction has written since its
-- TRUNCATE.
-- New readers wait behind a TRUNCATE that waits. lock_timeout limits this time: if a reader stays idle in its
-- transaction, this is an error, and the transaction with the TRUNCATE is rolled back.
CREATE OR REPLACE FUNCTION "{schema}".clear_counts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  own "{schema}".deltas[] := ARRAY(
    SELECT deltas FROM "{schema}".deltas WHERE xid = pg_current_xact_id()
  );
  own_held "{schema}".held_messages[] := ARRAY(
    SELECT held FROM "{schema}".held_messages AS held
    WHERE EXISTS (SELECT FROM "{queued}" AS message WHERE message.id = held.id AND message.sender_id = held.sender_id)
  );
BEGIN
  DELETE FROM "{schema}".fold_lock;
  TRUNCATE "{schema}".counters, "{schema}".sender_totals, "{schema}".deltas, "{schema}".held_messages;
  INSERT INTO "{schema}".deltas SELECT * FROM unnest(own);
  INSERT INTO "{schema}".held_messages SELECT * FROM unnest(own_held);
  RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
  RAISE lock_not_available USING
    MESSAGE = 'messages can''t be truncated while another transaction holds a lock on the counters',
    HINT = 'End that transaction, or run TRUNCATE in READ COMMITTED.';
END
$$;

DROP TRIGGER IF EXISTS truncated ON "{schema}".fold_lock;
CREATE CONSTRAINT TRIGGER truncated AFTER INSERT ON "{schema}".fold_lock DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION "{schema}".clear_counts();
ALTER TABLE "{schema}".fold_lock ENABLE ALWAYS TRIGGER truncated;

REVOKE EXECUTE ON FUNCTION "{schema}".record_insert(), "{schema}".record_update() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".record_delete(), "{schema}".record_truncate() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".clear_counts() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".is_part_of_messages(oid), "{schema}".remember_uncounted() FROM PUBLIC;
DROP FUNCTION IF EXISTS "{schema}".require_part_of_messages(oid);
