-- The functions that only a node of a Citus cluster has: the arrival and departure of shards, and the proof that a
-- shard is on the node. Citus does not manage their schema. `queuestats migrate` runs this file on every node.
-- has_created: false while services of a former release may run, because these do not trust a shard that has a parent.
-- places: schema, messages, messages_oid, has_created

-- messages_table: the table that Citus distributes. counters/queued_messages.sql has this function for one machine.
CREATE OR REPLACE FUNCTION "{schema}".messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT to_regclass('public.messages')::regclass $$;

-- shard_of: the shard of a sender. Citus returns it only to roles that may read messages.
CREATE OR REPLACE FUNCTION "{schema}".shard_of(of_sender bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT get_shard_id_for_distribution_column('public.messages', of_sender)
$$;

-- placed: the shards of messages that are on this node, by the node's own copy of the Citus catalog.
CREATE OR REPLACE FUNCTION "{schema}".placed() RETURNS TABLE (shard bigint, lowest integer, highest integer)
LANGUAGE sql STABLE AS $$
  SELECT shardid, CAST(shardminvalue AS integer), CAST(shardmaxvalue AS integer)
  FROM pg_dist_shard INNER JOIN pg_dist_placement USING (shardid)
  WHERE logicalrelid = to_regclass('public.messages') AND groupid = (SELECT groupid FROM pg_dist_local_group)
$$;

-- known: the shards that are on this node, and the shards that have left but whose counts are not deleted yet.
CREATE OR REPLACE FUNCTION "{schema}".known() RETURNS bigint[]
LANGUAGE sql STABLE AS $$
  SELECT ARRAY(SELECT shard FROM "{schema}".placed() UNION SELECT shard FROM "{schema}".shards)
$$;

-- has_stayed: whether a move that wrote to the row of a placement has ended, and the row is still the same version. A
-- move holds the lock until it ends on this node. In READ COMMITTED, the check after the lock has a new snapshot.
CREATE OR REPLACE FUNCTION "{schema}".has_stayed(of_shard bigint, seen xid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
  PERFORM lock_shard_metadata(5, ARRAY[of_shard]);
  RETURN EXISTS (
    SELECT FROM pg_dist_placement
    WHERE shardid = of_shard AND xmin = seen AND groupid = (SELECT groupid FROM pg_dist_local_group)
  );
EXCEPTION
  -- Citus raises an internal error for a shard that no longer exists.
  WHEN lock_not_available OR internal_error THEN RETURN false;
END
$$;

-- unproved: the shards whose counts can't be read on this node, with the reason: moved, moving, unattached (the table
-- lacks our triggers), uncounted.
-- A statement that reads the counters calls it in its own snapshot. A move writes to the row of the placement on this
-- node before it prepares its transaction, and so before another node can show that the move has ended. So if the row
-- is visible and no transaction has written to it, no result of this snapshot lacks a message that was written on
-- another node.
-- Plain STABLE SQL, so that the planner inlines it.
CREATE OR REPLACE FUNCTION "{schema}".unproved(of_shards bigint[]) RETURNS TABLE (shard bigint, state text)
LANGUAGE sql STABLE AS $$
  SELECT shard, state
  FROM (
    SELECT wanted.shard, CASE
             WHEN placement.shardid IS NULL OR pg_is_in_recovery() THEN 'moved'
             WHEN placement.xmax <> '0' AND NOT "{schema}".has_stayed(wanted.shard, placement.xmin) THEN 'moving'
             WHEN own.shard IS NULL OR 4 <> (
               SELECT count(*) FROM pg_trigger
               WHERE tgrelid = own.relation AND hash_record_extended(ROW(oid, xmin), 0) = ANY (own.triggers)
             ) THEN 'unattached'
             WHEN NOT own.is_counted THEN 'uncounted'
             ELSE 'here'
           END AS state
    FROM (SELECT DISTINCT unnest(of_shards) AS shard) AS wanted
      LEFT JOIN pg_dist_placement AS placement
        ON placement.shardid = wanted.shard AND placement.groupid = (SELECT groupid FROM pg_dist_local_group)
      LEFT JOIN "{schema}".shards AS own ON own.shard = wanted.shard
  ) AS proved
  WHERE state <> 'here'
$$;

-- require_proved: true if the counts of these shards can be read in the snapshot of the calling statement. Otherwise it
-- raises an error: a shard is on another node (QS409), or is not counted (QS503). are_all: it also raises QS409 if the
-- node has another shard, or has not deleted the counts of a shard that has left. So statements on several nodes read
-- each shard exactly once, although their snapshots differ.
CREATE OR REPLACE FUNCTION "{schema}".require_proved(of_shards bigint[], are_all boolean) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
  found record;
BEGIN
  SELECT * INTO found FROM "{schema}".unproved(of_shards) ORDER BY state LIMIT 1;
  IF found.state LIKE 'mov%' OR (are_all AND NOT "{schema}".known() <@ of_shards) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  ELSIF found.state IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'a shard is not counted yet';
  END IF;
  RETURN true;
END
$$;

-- counted: always true. Each statement on a node has the proof of its own shards (proved.sql), so the proof of
-- counters/proof.sql is not needed.
CREATE OR REPLACE FUNCTION "{schema}".counted() RETURNS TABLE (are_readable boolean)
LANGUAGE sql STABLE AS $$ SELECT true $$;

-- follow_partitions: always true. A fold calls it, and the table of a shard has no partitions.
CREATE OR REPLACE FUNCTION "{schema}".follow_partitions() RETURNS boolean
LANGUAGE sql STABLE AS $$ SELECT true $$;

-- messages_here: the messages of a sender for a scan, also if they are not counted. It raises QS409 if the shard of the
-- sender is on another node. This check comes after the read: if the shard is on this node after the read, it was on
-- this node during the read.
CREATE OR REPLACE FUNCTION "{schema}".messages_here(of_sender bigint) RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text, status public.message_status,
  created_at timestamp with time zone
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_shard CONSTANT bigint := "{schema}".shard_of(of_sender);
BEGIN
  IF to_regclass('public.messages_' || of_shard) IS NOT NULL THEN
    RETURN QUERY EXECUTE format(
      'SELECT sender_id, account_id, campaign_id, isp, status, created_at FROM public.messages_%s'
      ' WHERE sender_id = $1', of_shard
    ) USING of_sender;
  END IF;
  IF EXISTS (SELECT FROM "{schema}".unproved(ARRAY[of_shard]) WHERE state LIKE 'mov%') THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  END IF;
END
$$;

-- recount_shard: counts the messages of a shard, or of one sender of the shard, by all keys, in the snapshot of the
-- calling statement. oldest, came: the values in a delta for the arrival of these messages.
CREATE OR REPLACE FUNCTION "{schema}".recount_shard(of_shard bigint, of_sender bigint) RETURNS TABLE (
  sender_id bigint, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint, total bigint, oldest timestamp with time zone, came integer
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF to_regclass('public.messages_' || of_shard) IS NOT NULL THEN
    RETURN QUERY EXECUTE format(
      'SELECT sender_id, account_id, campaign_id, isp,'
      ' count(*) FILTER (WHERE status = ''new''), count(*) FILTER (WHERE status = ''proc''),'
      ' count(*) FILTER (WHERE status = ''retry''), count(*) FILTER (WHERE status = ''hold''), count(*),'
      ' min(created_at),'
      ' bit_or(CASE status WHEN ''new'' THEN 1 WHEN ''proc'' THEN 2 WHEN ''retry'' THEN 4 WHEN ''hold'' THEN 8 END)'
      ' FROM public.messages_%s WHERE $1 IS NULL OR sender_id = $1 GROUP BY 1, 2, 3, 4', of_shard
    ) USING of_sender;
  END IF;
END
$$;

-- recount: the same as in counters/recount.sql, for the shards that are on this node. It does not read all tables,
-- because the table of a shard that has left may not be dropped yet.
CREATE OR REPLACE FUNCTION "{schema}".recount(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint, other bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, "{schema}".grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
         "{schema}".counter_sum(retry), "{schema}".counter_sum(hold),
         "{schema}".counter_sum(total - new - proc - retry - hold)
  FROM "{schema}".placed() CROSS JOIN LATERAL "{schema}".recount_shard(shard, of_sender)
  WHERE of_sender IS NULL OR worker_hash(of_sender) BETWEEN lowest AND highest
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;

-- audit_shards: the same as audit, for the shards whose counts can be read. It also returns a row without a sender for
-- each shard on this node, or for the shard of the sender: the shard is in place of an account, and its state in place
-- of a grouping set. A shard in the state `here` was compared. All rows are from one snapshot. The locks exclude a
-- TRUNCATE, whose effect would look like drift.
-- A TRUNCATE locks the shards in several sessions. If this function and the TRUNCATE wait for each other, the lock
-- timeout ends this function before Citus ends the TRUNCATE.
CREATE OR REPLACE FUNCTION "{schema}".audit_shards(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set text, account_id bigint, campaign_id bigint, isp text,
  counted_new bigint, counted_proc bigint, counted_retry bigint, counted_hold bigint, counted_other bigint,
  kept_new bigint, kept_proc bigint, kept_retry bigint, kept_hold bigint, kept_other bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
  of_shard bigint;
BEGIN
  PERFORM set_config('citus.enable_manual_changes_to_shards', 'on', true);
  FOR of_shard IN SELECT shard FROM "{schema}".shards LOOP
    BEGIN
      EXECUTE format('LOCK TABLE public.messages_%s IN ACCESS SHARE MODE', of_shard);
    EXCEPTION WHEN undefined_table THEN CONTINUE;
    END;
  END LOOP;
  RETURN QUERY
  WITH placed AS MATERIALIZED (
    SELECT placed.shard, lowest, highest, coalesce(state, 'here') AS state
    FROM "{schema}".placed() AS placed
      LEFT JOIN "{schema}".unproved("{schema}".known()) AS unproved ON unproved.shard = placed.shard
    WHERE of_sender IS NULL OR worker_hash(of_sender) BETWEEN lowest AND highest
  )
  SELECT sender_id, CAST(grouping_set AS text), account_id, campaign_id, isp,
         counted_new, counted_proc, counted_retry, counted_hold, counted_other,
         kept_new, kept_proc, kept_retry, kept_hold, kept_other
  FROM "{schema}".audit(of_sender)
  WHERE EXISTS (
    SELECT FROM placed WHERE state = 'here' AND worker_hash(sender_id) BETWEEN lowest AND highest
  )
  UNION ALL
  SELECT NULL, state, shard, 0, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM placed;
END
$$;

-- is_compared: whether the shard of a sender is on this node and counted. Only then can the counts of the sender be
-- compared with its messages.
CREATE OR REPLACE FUNCTION "{schema}".is_compared(of_sender bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM "{schema}".shards
    WHERE worker_hash(of_sender) BETWEEN lowest AND highest
      AND shard NOT IN (SELECT shard FROM "{schema}".unproved("{schema}".known()))
  )
$$;

-- record_shard_truncate: marks a shard as not counted. TRUNCATE of messages empties each shard in a separate session,
-- so this function takes no lock of the node. count_shard() subtracts the counts that the shard had.
CREATE OR REPLACE FUNCTION "{schema}".record_shard_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE "{schema}".shards SET is_counted = false WHERE relation = TG_RELID;
  DELETE FROM "{schema}".held_messages WHERE sender_id IN (
    SELECT "{schema}".kept_senders('held_messages', lowest, highest) FROM "{schema}".shards WHERE relation = TG_RELID
  );
  RETURN NULL;
END
$$;

-- leave_parent: removes from messages the child tables of shards that have left and are not dropped yet, so that
-- statements no longer read them. The lock on messages excludes statements whose plan has other child tables than their
-- snapshot.
CREATE OR REPLACE FUNCTION "{schema}".leave_parent() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  left_over regclass;
BEGIN
  LOCK TABLE ONLY "{messages}" IN ACCESS EXCLUSIVE MODE;
  FOR left_over IN
    SELECT inhrelid FROM pg_inherits
    WHERE inhparent = "{messages_oid}" AND inhrelid <> ALL (ARRAY(
        SELECT coalesce(to_regclass('public.messages_' || shard), 0::regclass)::oid FROM "{schema}".placed()
      ))
  LOOP
    EXECUTE format('ALTER TABLE %s NO INHERIT "{messages}"', left_over);
  END LOOP;
END
$$;

-- apart: the shards whose tables have their triggers, but no parent. Services of the release that had a schema for each
-- shard reject a shard that has a parent, so tables get no parent while services of that release may run.
CREATE OR REPLACE FUNCTION "{schema}".apart() RETURNS TABLE (shard bigint)
LANGUAGE sql STABLE AS $$
  SELECT shard FROM "{schema}".shards INNER JOIN "{schema}".placed() USING (shard)
  WHERE "{has_created}"
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass('public.messages_' || shard))
$$;

-- attach_shard: creates the counting triggers on the table of a shard, and makes the table a child of messages. The
-- history of the shard begins when it is counted. The service copies its holds and jobs from other nodes (control.sql).
CREATE OR REPLACE FUNCTION "{schema}".attach_shard(of_shard bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format('LOCK TABLE public.messages_%s IN ACCESS EXCLUSIVE MODE', of_shard);
  PERFORM "{schema}".leave_parent();
  IF "{has_created}" THEN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass('public.messages_' || of_shard)) THEN
      EXECUTE format('ALTER TABLE public.messages_%s INHERIT "{messages}"', of_shard);
    END IF;
    INSERT INTO "{schema}".arrived_shards (shard) VALUES (of_shard)
    ON CONFLICT (shard) DO UPDATE SET arrival = DEFAULT, arrived_at = DEFAULT;
  END IF;
  DELETE FROM "{schema}".history_begins WHERE sender_id = -of_shard;
  EXECUTE replace($triggers$
    CREATE OR REPLACE TRIGGER local_inserted AFTER INSERT ON public.messages_0
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_insert();
    CREATE OR REPLACE TRIGGER local_updated AFTER UPDATE ON public.messages_0
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_update();
    CREATE OR REPLACE TRIGGER local_deleted AFTER DELETE ON public.messages_0
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_delete();
    CREATE OR REPLACE TRIGGER local_truncated AFTER TRUNCATE ON public.messages_0
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_shard_truncate();
    ALTER TABLE public.messages_0
    ENABLE ALWAYS TRIGGER local_inserted, ENABLE ALWAYS TRIGGER local_updated,
    ENABLE ALWAYS TRIGGER local_deleted, ENABLE ALWAYS TRIGGER local_truncated
  $triggers$, 'messages_0', 'messages_' || of_shard);
  INSERT INTO "{schema}".shards (shard, lowest, highest, relation, triggers)
  SELECT shard, lowest, highest, to_regclass('public.messages_' || shard), ARRAY(
    SELECT hash_record_extended(ROW(trigger.oid, trigger.xmin), 0)
    FROM pg_trigger AS trigger INNER JOIN pg_proc AS called ON called.oid = tgfoid
    WHERE tgrelid = to_regclass('public.messages_' || shard) AND pronamespace = '"{schema}"'::regnamespace
  )
  FROM "{schema}".placed() WHERE shard = of_shard
  ON CONFLICT (shard) DO UPDATE SET
    relation = excluded.relation, triggers = excluded.triggers, is_counted = false;
  RETURN format('shard %s has its triggers', of_shard);
END
$$;

-- count_shard: writes the difference between the messages of a shard and its counts as deltas. The messages, the
-- counters and the pending deltas are from one snapshot, so folds can continue. The difference also corrects counts
-- that remain from an earlier stay of the shard or from before a TRUNCATE.
-- For each sender, one delta has the time of the oldest message, so that folds adjust the bounds (counters/bounds.sql).
-- After a TRUNCATE alone, the history continues, and records the deltas as messages that have left. Otherwise, the
-- history begins now, and the deltas are corrections (counters/fold.sql).
CREATE OR REPLACE FUNCTION "{schema}".count_shard(of_shard bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off SET work_mem = '64MB'
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET row_security = off AS $$
#variable_conflict use_column
DECLARE
  own CONSTANT "{schema}".shards := (SELECT shards FROM "{schema}".shards WHERE shard = of_shard);
  has_begun CONSTANT boolean := EXISTS (SELECT FROM "{schema}".history_begins WHERE sender_id = -of_shard);
BEGIN
  WITH counted AS MATERIALIZED (SELECT * FROM "{schema}".recount_shard(of_shard, NULL))
  INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest, came)
  SELECT sender_id, account_id, campaign_id, isp, sum(part.new), sum(part.proc), sum(part.retry), sum(part.hold),
         min(oldest), CASE WHEN has_begun THEN 0 ELSE 16 END | coalesce(bit_or(came), 0)
  FROM (
    SELECT sender_id, account_id, campaign_id, isp, new, proc, retry, hold, NULL AS oldest, NULL AS came FROM counted
    UNION ALL
    SELECT sender_id, 0, 0, '', 0, 0, 0, 0, min(oldest), bit_or(came) FROM counted GROUP BY sender_id
    UNION ALL
    SELECT sender_id, account_id, campaign_id, isp, -new, -proc, -retry, -hold, NULL, NULL
    FROM "{schema}".counters LEFT JOIN "{schema}".watermarks USING (sender_id)
    WHERE grouping_set = 'account_campaign_isp' AND (counters.epoch = 0 OR counters.epoch = watermarks.epoch)
      AND worker_hash(sender_id) BETWEEN own.lowest AND own.highest
    UNION ALL
    SELECT sender_id, account_id, campaign_id, isp, -new, -proc, -retry, -hold, NULL, NULL
    FROM "{schema}".deltas_by_grouping_set(NULL, is_from_watermark => true)
    WHERE grouping_set = 'account_campaign_isp' AND worker_hash(sender_id) BETWEEN own.lowest AND own.highest
  ) AS part
  GROUP BY sender_id, account_id, campaign_id, isp
  HAVING sum(part.new) <> 0 OR sum(part.proc) <> 0 OR sum(part.retry) <> 0 OR sum(part.hold) <> 0
    OR min(oldest) IS NOT NULL;
  IF NOT has_begun THEN
    PERFORM "{schema}".begin_history(-of_shard);
  END IF;
  UPDATE "{schema}".shards SET is_counted = true WHERE shard = of_shard;
  RETURN format('shard %s is counted', of_shard);
END
$$;

-- forget_shard: deletes the counts of a shard that has left. After a split, it keeps the counts of senders whose new
-- shard is on this node. It holds the lock of the fold, because a fold would write the counts again.
CREATE OR REPLACE FUNCTION "{schema}".forget_shard(of_shard bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  counts text;
BEGIN
  PERFORM "{schema}".take_fold_lock(is_waiting => true);
  DELETE FROM "{schema}".shards WHERE shard = of_shard;
  DELETE FROM "{schema}".arrived_shards WHERE shard = of_shard;
  FOREACH counts IN ARRAY ARRAY['deltas', 'counters', 'sender_totals', 'watermarks', 'bounds'] LOOP
    EXECUTE format(
      'DELETE FROM "{schema}".%I AS kept WHERE sender_id > 0 AND NOT EXISTS ('
      '  SELECT FROM "{schema}".shards WHERE worker_hash(kept.sender_id) BETWEEN lowest AND highest'
      ')', counts
    );
  END LOOP;
  PERFORM "{schema}".leave_parent();
  RETURN format('shard %s has left', of_shard);
END
$$;

-- settle: the next step until the counts of the node are the counts of its shards. A step creates the triggers of a
-- shard, counts a shard, or deletes the counts of a shard that has left. Returns a description of the step; NULL if
-- there is nothing to do, or another session runs a step. A step is one transaction. If writers of a shard have a long
-- transaction open, the other shards are not delayed.
CREATE OR REPLACE FUNCTION "{schema}".settle() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
SET client_min_messages = error AS $$
DECLARE
  next record;
BEGIN
  -- Citus must not create these objects on other nodes.
  PERFORM set_config('citus.enable_ddl_propagation', 'off', true),
          set_config('citus.enable_manual_changes_to_shards', 'on', true);
  BEGIN
    LOCK TABLE "{schema}".settle_lock IN ACCESS EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
  END;
  -- Shards that have arrived come first: after a split, they use the counts of the former shard.
  FOR next IN
    SELECT * FROM (
      SELECT shard, state FROM "{schema}".unproved("{schema}".known())
      UNION ALL
      SELECT shard, 'unattached' FROM "{schema}".apart()
    ) AS unsettled
    ORDER BY array_position(ARRAY['unattached', 'uncounted', 'moved'], state), random()
  LOOP
    BEGIN
      RETURN CASE next.state
        WHEN 'unattached' THEN "{schema}".attach_shard(next.shard)
        WHEN 'uncounted' THEN "{schema}".count_shard(next.shard)
        WHEN 'moved' THEN "{schema}".forget_shard(next.shard)
      END;
    EXCEPTION WHEN lock_not_available OR undefined_table THEN
      -- Citus may drop the table of a shard that has left at any time.
      CONTINUE;
    END;
  END LOOP;
  RETURN NULL;
END
$$;

-- The bounds are valid from the beginning, because count_shard() records the oldest messages. Shards that a former
-- version counted are attached and counted again.
WITH begun AS (
  INSERT INTO "{schema}".bounds (sender_id, number, new, proc, retry, hold)
  VALUES (0, 0, 'infinity', 'infinity', 'infinity', 'infinity')
  ON CONFLICT DO NOTHING RETURNING sender_id
)

UPDATE "{schema}".shards SET triggers = '{}' WHERE EXISTS (SELECT FROM begun);

REVOKE EXECUTE ON FUNCTION "{schema}".shard_of(bigint), "{schema}".has_stayed(bigint, xid) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".messages_here(bigint), "{schema}".recount_shard(bigint, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".audit_shards(bigint), "{schema}".settle() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".record_shard_truncate() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".attach_shard(bigint), "{schema}".count_shard(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".forget_shard(bigint), "{schema}".leave_parent() FROM PUBLIC;
