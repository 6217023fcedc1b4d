-- The proof that the counters include all messages.
--
-- A disabled trigger, and a partition that is attached or detached with rows, change the messages without a delta. Both
-- leave a trace in the catalog: ALTER TABLE writes new versions of rows of pg_trigger and pg_inherits, and TRUNCATE of
-- a partition gives it another file. baseline stores a hash of the versions at the time when all messages were counted.
-- While the versions are the same, the counts are right. Every statement that reads the counters compares them, in its
-- own snapshot. For an adopted table, the versions of the columns that its mapping names are included: column_versions.
-- Two changes leave no trace: a partition that is attached and detached again between two calls of follow_partitions,
-- and a TRUNCATE in the transaction that created the partition.
-- places: schema, locked, uncounted_writes

-- partition_versions: the partitions of the counted table, of every level, and its inheritance children. is_leaving:
-- DETACH PARTITION ... CONCURRENTLY has not ended. Queries no longer read the partition, but transactions that began
-- earlier still write to it, and the triggers count these writes.
CREATE OR REPLACE FUNCTION "{schema}".partition_versions() RETURNS TABLE (
  partition oid, parent oid, version bigint, is_leaving boolean
)
LANGUAGE sql STABLE AS $$
  WITH RECURSIVE tree AS (
    SELECT inhrelid AS partition, inhparent AS parent, xmin AS attached_by, inhdetachpending AS is_leaving
    FROM pg_inherits WHERE inhparent = "{schema}".messages_table()
    UNION ALL
    SELECT child.inhrelid, child.inhparent, child.xmin, child.inhdetachpending
    FROM tree INNER JOIN pg_inherits AS child ON child.inhparent = tree.partition
  )
  SELECT partition, parent, hash_record_extended(ROW(partition, attached_by, relfilenode), 0), is_leaving
  FROM tree INNER JOIN pg_class ON pg_class.oid = tree.partition
$$;

-- counting_triggers: the triggers that count, on the counted table and its partitions.
CREATE OR REPLACE FUNCTION "{schema}".counting_triggers() RETURNS TABLE (
  relation oid, function name, is_on boolean, is_always boolean, version bigint
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT tgrelid, called.proname, tgenabled IN ('O', 'A'), tgenabled = 'A',
         hash_record_extended(ROW(trigger.oid, trigger.xmin), 0)
  FROM pg_trigger AS trigger INNER JOIN pg_proc AS called ON called.oid = trigger.tgfoid
  WHERE tgrelid = ANY (ARRAY(
      SELECT "{schema}".messages_table()::oid UNION ALL SELECT partition FROM "{schema}".partition_versions()
    ))
    AND called.pronamespace = '"{schema}"'::regnamespace
    AND called.proname IN ('record_insert', 'record_update', 'record_delete', 'record_truncate', 'record_row')
$$;

-- trigger_state: one row. is_missing: a counting trigger is missing on the counted table. is_off: a trigger is
-- disabled, on the table or on a partition. is_partial: a trigger on the table is not enabled ALWAYS, so it does not
-- count what a session writes with session_replication_role = replica.
-- A partitioned table messages needs the triggers, and so does each partition: a statement that names messages fires
-- only the triggers of messages, and a statement that names a partition only those of the partition.
CREATE OR REPLACE FUNCTION "{schema}".trigger_state() RETURNS TABLE (
  is_missing boolean, is_off boolean, is_partial boolean
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT 4 > (
           count(DISTINCT function) FILTER (WHERE relation = counted.messages)
           + 3 * count(*) FILTER (WHERE relation = counted.messages AND function = 'record_row')
         ),
         coalesce(bool_or(NOT is_on), false),
         coalesce(bool_or(NOT is_always) FILTER (WHERE relation = counted.messages), false)
  FROM "{schema}".messages_relation() AS counted LEFT JOIN "{schema}".counting_triggers() ON true
  WHERE counted.messages IS NOT NULL
$$;

-- are_partitions_kept: whether the partitions and all triggers have these versions, and no partition is being detached.
CREATE OR REPLACE FUNCTION "{schema}".are_partitions_kept(triggers bigint[], partitions bigint[]) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT NOT bool_or(is_leaving) AND array_agg(version ORDER BY version) = partitions AND cardinality(triggers) = (
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid = ANY ("{schema}".messages_table()::oid || array_agg(partition))
      AND hash_record_extended(ROW(oid, xmin), 0) = ANY (triggers)
  ) + (SELECT count(*) FROM "{schema}".column_versions() AS kept (version) WHERE kept.version = ANY (triggers))
  FROM "{schema}".partition_versions()
$$;

-- proof: one row, whether the counters include all messages.
-- A plain STABLE function, inlined by the planner: it reads the catalog in the snapshot of the calling statement,
-- without the cost of another statement.
CREATE OR REPLACE FUNCTION "{schema}".proof() RETURNS TABLE (holds boolean)
LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM "{schema}".baseline CROSS JOIN "{schema}".messages_relation()
    WHERE stands AND doubted_at IS NULL AND NOT EXISTS (SELECT FROM "{uncounted_writes}")
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = messages) AND CASE
        WHEN triggers = '{}' THEN false
        WHEN partitions <> '{}' THEN "{schema}".are_partitions_kept(triggers, partitions)
        ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = messages) AND cardinality(triggers) = (
          SELECT count(*) FROM pg_catalog.pg_trigger
          WHERE tgrelid = messages AND hash_record_extended(ROW(oid, xmin), 0) = ANY (triggers)
        ) + (SELECT count(*) FROM "{schema}".column_versions() AS kept (version) WHERE version = ANY (triggers))
      END
  )
$$;

-- is_proven: the same as a value, with its own search_path.
CREATE OR REPLACE FUNCTION "{schema}".is_proven() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT holds FROM "{schema}".proof()
$$;

-- why_uncounted: why the counters can't be trusted; no row if they can.
-- can_be_counted: all triggers exist and are enabled, so rebuild repairs the counters. is_waiting: until then,
-- statements read the messages themselves.
CREATE OR REPLACE FUNCTION "{schema}".why_uncounted() RETURNS TABLE (
  reason text, can_be_counted boolean, is_waiting boolean
)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF "{schema}".is_proven() THEN
    RETURN;
  END IF;
  SELECT NOT is_missing AND NOT is_off INTO can_be_counted FROM "{schema}".trigger_state();
  SELECT string_agg(uncountable, '; ') INTO reason FROM "{schema}".uncountable_messages() AS uncountable;
  IF reason IS NOT NULL THEN
    RETURN QUERY SELECT reason, false, false;
  ELSIF EXISTS (SELECT FROM "{schema}".partition_versions() WHERE is_leaving) THEN
    RETURN QUERY SELECT 'a partition is being detached concurrently', false, true;
  ELSIF NOT EXISTS (SELECT FROM "{schema}".baseline) THEN
    RETURN QUERY SELECT
      'the messages have not been counted yet, or partitions have changed since', can_be_counted, true;
  ELSIF EXISTS (SELECT FROM "{schema}".baseline WHERE doubted_at IS NOT NULL) THEN
    RETURN QUERY SELECT 'wrong counts were found', can_be_counted, true;
  ELSIF (SELECT partitions FROM "{schema}".baseline)
    <> ARRAY(SELECT version FROM "{schema}".partition_versions() ORDER BY version) THEN
    RETURN QUERY SELECT 'partitions were attached, detached, dropped or rewritten', can_be_counted, true;
  ELSIF EXISTS (SELECT FROM "{uncounted_writes}") OR EXISTS (
    SELECT FROM "{schema}".baseline CROSS JOIN "{schema}".column_versions() AS seen (version)
    WHERE version <> ALL (triggers)
  ) THEN
    RETURN QUERY SELECT 'a column that the mapping names was altered', can_be_counted, true;
  ELSE
    RETURN QUERY SELECT
      'a trigger that counts is or was disabled, or was created again', can_be_counted, false;
  END IF;
END
$$;

-- require_counted: true if the counters can be read. Otherwise it raises an error: QS425 if the caller can read the
-- messages instead, or QS503 if the service answers 503. On a standby it is always QS503, because its data is late.
CREATE OR REPLACE FUNCTION "{schema}".require_counted() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
  uncounted record;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the database is a standby';
  ELSIF NOT "{schema}".is_proven() THEN
    SELECT * INTO uncounted FROM "{schema}".why_uncounted();
    RAISE EXCEPTION USING
      ERRCODE = CASE WHEN uncounted.is_waiting THEN 'QS425' ELSE 'QS503' END,
      MESSAGE = 'the queue is not counted', DETAIL = uncounted.reason,
      HINT = 'Run queuestats doctor.';
  END IF;
  RETURN true;
END
$$;

-- counted: one row with true if the counters can be read; otherwise the error of require_counted. Inlined like proof:
-- require_counted runs only where the proof does not hold. Every statement that answers from the counters has it.
CREATE OR REPLACE FUNCTION "{schema}".counted() RETURNS TABLE (are_readable boolean)
LANGUAGE sql STABLE AS $$
  SELECT holds AND NOT pg_catalog.pg_is_in_recovery() OR "{schema}".require_counted() FROM "{schema}".proof()
$$;

-- remember_proof: stores the current versions in baseline. rebuild calls it before it counts, so that a change during
-- the count is detected afterwards.
CREATE OR REPLACE FUNCTION "{schema}".remember_proof() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE "{schema}".baseline SET
    triggers = ARRAY(
      SELECT version FROM "{schema}".counting_triggers()
      UNION ALL
      SELECT version FROM "{schema}".column_versions() AS version
    ),
    partitions = ARRAY(SELECT version FROM "{schema}".partition_versions() ORDER BY version)
$$;

-- forget_unproven: deletes the baseline if the counters are not proven. It runs in the transaction that replaces the
-- triggers, because nothing shows afterwards that a trigger was disabled or missing. A baseline of the previous release
-- has no proof: it stays if all triggers are enabled and it lists exactly the current partitions.
CREATE OR REPLACE FUNCTION "{schema}".forget_unproven() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM "{schema}".baseline
  WHERE NOT CASE
    WHEN triggers <> '{}' THEN "{schema}".is_proven() AND NOT (SELECT is_missing FROM "{schema}".trigger_state())
    ELSE (SELECT NOT is_missing AND NOT is_off FROM "{schema}".trigger_state())
      AND ARRAY(SELECT part FROM unnest(parts) AS part ORDER BY part) = ARRAY(
        SELECT CAST(hashtext(format('%s:%s', inhrelid, pg_inherits.xmin)) & 4294967295 AS oid) AS part
        FROM "{schema}".partition_versions() INNER JOIN pg_inherits ON inhrelid = partition
        ORDER BY part
      )
  END
$$;

-- was_created_as_one: whether a table was created as a partition. CREATE TABLE ... PARTITION OF writes both rows of the
-- catalog in one transaction, with command ids that differ by three; with CREATE TABLE and ATTACH PARTITION they differ
-- by at least five.
CREATE OR REPLACE FUNCTION "{schema}".was_created_as_one(of_partition oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM pg_inherits AS inherited INNER JOIN pg_attribute AS created ON created.attrelid = inherited.inhrelid
    WHERE inherited.inhrelid = of_partition AND created.attname = 'ctid' AND inherited.xmin = created.xmin
      AND CAST(CAST(inherited.cmin AS text) AS bigint) - CAST(CAST(created.cmin AS text) AS bigint) < 5
  )
$$;

-- were_triggers_kept: whether each counting trigger of a partition was created with it and never changed since: its row
-- is not younger than those of its dependencies.
CREATE OR REPLACE FUNCTION "{schema}".were_triggers_kept(of_partition oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (
    SELECT FROM pg_trigger AS trigger
      INNER JOIN pg_proc AS called ON called.oid = tgfoid
      INNER JOIN pg_inherits AS inherited ON inhrelid = tgrelid
      INNER JOIN pg_depend AS made ON made.classid = 'pg_trigger'::regclass AND made.objid = trigger.oid
    WHERE tgrelid = of_partition AND called.pronamespace = '"{schema}"'::regnamespace
      AND (trigger.xmin <> inherited.xmin OR trigger.xmin <> made.xmin
        OR CAST(CAST(trigger.cmin AS text) AS bigint) > CAST(CAST(made.cmin AS text) AS bigint))
  )
$$;

-- came_empty: whether all rows of a partition were counted. is_grown: the partition and each of its parents was created
-- as a partition, or is known. An attached partition has never contained a row while its first file has no page and no
-- vacuum has visited it. A file other than the first may come from a TRUNCATE.
CREATE OR REPLACE FUNCTION "{schema}".came_empty(of_partition oid, is_grown boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT relkind = 'p' OR relfilenode = oid AND (
      is_grown AND "{schema}".were_triggers_kept(oid)
      OR reltuples < 0 AND coalesce(pg_relation_size(oid), 1) = 0
    )
  FROM pg_class WHERE oid = of_partition
$$;

-- follow_partitions: adds partitions that were attached empty to the proof, and returns true. If a partition had rows
-- when it was attached, or was removed, it deletes the baseline and returns false: recount_if_needed then recounts all
-- messages. Folds call it, and readers that find an unknown partition. A baseline of the previous release has no proof
-- yet; attach.sql checks it. One statement reads the catalog, so that only versions that were examined are stored.
CREATE OR REPLACE FUNCTION "{schema}".follow_partitions() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known CONSTANT bigint[] := (SELECT partitions FROM "{schema}".baseline WHERE triggers <> '{}');
  seen bigint[];
  seen_triggers bigint[];
  can_follow boolean;
BEGIN
  IF known = ARRAY(SELECT version FROM "{schema}".partition_versions() ORDER BY version)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = "{schema}".messages_table()) THEN
    RETURN true;
  ELSIF known IS NULL OR NOT "{schema}".take_fold_lock(is_waiting => false) THEN
    RETURN false;
  END IF;
  WITH RECURSIVE now_there AS MATERIALIZED (
    SELECT partition, parent, version, is_leaving, version = ANY (known) AS is_known
    FROM "{schema}".partition_versions()
  ), tree AS (
    SELECT partition, is_known OR "{schema}".was_created_as_one(partition) AS is_grown
    FROM now_there WHERE parent = "{schema}".messages_table()
    UNION ALL
    SELECT child.partition, child.is_known OR tree.is_grown AND "{schema}".was_created_as_one(child.partition)
    FROM tree INNER JOIN now_there AS child ON child.parent = tree.partition
  )
  SELECT array_agg(version ORDER BY version),
         ARRAY(
           SELECT counting.version FROM "{schema}".counting_triggers() AS counting
           WHERE relation IN (SELECT partition FROM now_there WHERE NOT is_known)
         ),
         count(*) FILTER (WHERE is_known) = cardinality(known)
           AND bool_and(is_known OR NOT is_leaving AND "{schema}".came_empty(partition, is_grown))
           AND NOT EXISTS (SELECT FROM "{schema}".uncountable_messages())
  INTO seen, seen_triggers, can_follow
  FROM now_there INNER JOIN tree USING (partition);
  IF can_follow THEN
    UPDATE "{schema}".baseline SET triggers = triggers || seen_triggers, partitions = seen;
    RETURN true;
  END IF;
  DELETE FROM "{schema}".baseline;
  RETURN false;
END
$$;

-- recount_if_needed: recounts all messages if the counters are not proven and a count repairs that; after drift,
-- recounts the next sender with drift. Returns whether it counted; false also while another count or a fold is running.
-- Any process of the service may call it at any time.
CREATE OR REPLACE FUNCTION "{schema}".recount_if_needed() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  drifting CONSTANT bigint := (SELECT min(sender_id) FROM "{schema}".drift);
BEGIN
  IF NOT EXISTS (SELECT FROM "{schema}".why_uncounted() WHERE can_be_counted) THEN
    RETURN false;
  END IF;
  -- The same order of locks as in rebuild.
  LOCK TABLE "{locked}" IN ACCESS SHARE MODE;
  IF NOT "{schema}".take_fold_lock(is_waiting => false) OR "{schema}".is_proven() THEN
    RETURN false;
  END IF;
  -- A session keeps a plan for NEW and OLD with their former types. These statements change only the version of the
  -- functions, so each session compiles them again.
  IF to_regproc('"{schema}".record_row') IS NOT NULL THEN
    ALTER FUNCTION "{schema}".record_row() SECURITY DEFINER;
  END IF;
  IF to_regproc('"{schema}".record_names') IS NOT NULL THEN
    ALTER FUNCTION "{schema}".record_names() SECURITY DEFINER;
  END IF;
  -- While drift is left, the proof is not examined. Then all messages are counted if the proof has failed too.
  PERFORM "{schema}".rebuild(drifting);
  RETURN true;
END
$$;

DROP FUNCTION IF EXISTS "{schema}".changed_parts(), "{schema}".has_lost_triggers();

REVOKE EXECUTE ON FUNCTION "{schema}".remember_proof(), "{schema}".forget_unproven() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".follow_partitions(), "{schema}".recount_if_needed() FROM PUBLIC;
