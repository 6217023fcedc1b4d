-- What a node of a Citus cluster has beside the shards of messages. Each shard is a queue of its own: a schema
-- queuestats_<shard> with all that one machine has, made from the same files. This schema finds the right one.
-- On every node, as the owner, `queuestats migrate` creates the schema and create_or_replace (sql/migrate/), which runs
-- this file.

-- What a shard's schema is made of: tables, then our files, with {shard} in place of the shard's number. What is
-- repeatable is run again where it has changed. A former release called the table parts.
DROP TABLE IF EXISTS queuestats_node.parts;
CREATE TABLE IF NOT EXISTS queuestats_node.definitions (
  number integer PRIMARY KEY, body text NOT NULL, is_repeatable boolean NOT NULL
);

-- The statements of queries/from_counters/, with {shard} in place of a shard's number: the names and types of their
-- parameters, in order.
CREATE TABLE IF NOT EXISTS queuestats_node.readers (
  name text PRIMARY KEY, names text[] NOT NULL, types text[] NOT NULL, body text NOT NULL
);

-- Other statements that are run on a shard, with {shard} and numbered parameters: $1 is an array of all of them as
-- text. `name`: folder and file.
CREATE TABLE IF NOT EXISTS queuestats_node.statements (name text PRIMARY KEY, body text NOT NULL);

-- The shards that have their schema, and by which definitions it was made. What changes them locks it.
CREATE TABLE IF NOT EXISTS queuestats_node.shards (
  shard bigint PRIMARY KEY, is_counted boolean NOT NULL DEFAULT false, version text NOT NULL,
  -- The very table that has the triggers and was counted. One of this name that came later is another one.
  relation oid NOT NULL DEFAULT 0
);

-- table_of: the table of a shard as it is now; NULL where there is none.
CREATE OR REPLACE FUNCTION queuestats_node.table_of(of_shard bigint) RETURNS oid
LANGUAGE sql STABLE AS $$ SELECT to_regclass('public.messages_' || of_shard)::oid $$;

-- version: of the definitions.
CREATE OR REPLACE FUNCTION queuestats_node.version() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT md5(string_agg(body, '' ORDER BY number)) FROM queuestats_node.definitions
$$;

-- placed: the shards of messages that are on this node, as its own catalog has it.
CREATE OR REPLACE FUNCTION queuestats_node.placed() RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT shardid FROM pg_dist_shard INNER JOIN pg_dist_placement USING (shardid)
  WHERE logicalrelid = to_regclass('public.messages') AND groupid = (SELECT groupid FROM pg_dist_local_group)
$$;

-- counted: those of them that can be read from counters.
CREATE OR REPLACE FUNCTION queuestats_node.counted() RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT shard FROM queuestats_node.shards
  WHERE is_counted AND relation = queuestats_node.table_of(shard) AND shard IN (SELECT queuestats_node.placed())
$$;

-- shard_of: the shard of a sender. Citus tells it only those who may read messages.
CREATE OR REPLACE FUNCTION queuestats_node.shard_of(of_sender bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT get_shard_id_for_distribution_column('public.messages', of_sender)
$$;

-- require_here: an error where a shard is not on this node (QS409), or is not counted yet where it must be (QS503).
-- A move changes the catalogs of all nodes in one transaction, but not at one instant. It holds a lock on the shard's
-- metadata on every node until it is over there. So the lock comes first; the caller reads after it, by a later
-- snapshot, and holds it to its end.
CREATE OR REPLACE FUNCTION queuestats_node.require_here(of_shards bigint[], must_be_counted boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  is_here boolean;
  is_counted boolean;
BEGIN
  -- A shard that was split is not known any more: Citus says so by an internal error. A node that has become a standby
  -- lags.
  BEGIN
    IF cardinality(of_shards) > 0 THEN
      PERFORM lock_shard_metadata(5, of_shards);
    END IF;
  EXCEPTION WHEN internal_error THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  END;
  SELECT bool_and(placement.shardid IS NOT NULL),
         bool_and(coalesce(own.is_counted AND own.relation = queuestats_node.table_of(own.shard), false))
  INTO is_here, is_counted
  FROM unnest(of_shards) AS wanted (shard)
    LEFT JOIN pg_dist_placement AS placement
      ON placement.shardid = wanted.shard AND placement.groupid = (SELECT groupid FROM pg_dist_local_group)
    LEFT JOIN queuestats_node.shards AS own ON own.shard = wanted.shard;
  IF NOT is_here OR pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  ELSIF must_be_counted AND NOT is_counted THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'a shard is not counted yet';
  END IF;
END
$$;

-- settle: one step towards a schema for each shard that is here: takes one away, makes one, or counts one. What it did;
-- NULL where nothing is left to do, or another one is at it. A step is one transaction.
CREATE OR REPLACE FUNCTION queuestats_node.settle() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
SET client_min_messages = error AS $$
DECLARE
  of_shard bigint;
  is_new boolean;
  is_proven boolean;
  body text;
  bodies text[];
  newest text;
BEGIN
  -- What is made here is no affair of the other nodes.
  PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
  BEGIN
    LOCK TABLE queuestats_node.shards IN SHARE ROW EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
  END;

  -- One that came back by a second move is another table: without triggers, and not counted.
  SELECT shard INTO of_shard FROM queuestats_node.shards
  WHERE shard NOT IN (SELECT queuestats_node.placed()) OR relation IS DISTINCT FROM queuestats_node.table_of(shard)
  LIMIT 1;
  IF of_shard IS NOT NULL THEN
    DELETE FROM queuestats_node.shards WHERE shard = of_shard;
    PERFORM queuestats_node.refresh();
    EXECUTE format('DROP SCHEMA IF EXISTS queuestats_%s CASCADE', of_shard);
    RETURN format('shard %s has left', of_shard);
  END IF;

  SELECT placed.shard, shards.shard IS NULL INTO of_shard, is_new
  FROM queuestats_node.placed() AS placed (shard) LEFT JOIN queuestats_node.shards USING (shard)
  -- One whose writers have a long transaction open holds up no other.
  WHERE version IS DISTINCT FROM (SELECT queuestats_node.version()) ORDER BY random() LIMIT 1;
  IF of_shard IS NOT NULL THEN
    SELECT array_agg(definitions.body ORDER BY number) FILTER (WHERE is_new OR is_repeatable), queuestats_node.version()
    INTO bodies, newest FROM queuestats_node.definitions;
    FOREACH body IN ARRAY bodies LOOP
      PERFORM queuestats_node.create_or_replace(
        replace(body, '{shard}', cast(of_shard AS text)), format('queuestats_%s', of_shard)
      );
    END LOOP;
    INSERT INTO queuestats_node.shards (shard, version, relation)
    VALUES (of_shard, newest, queuestats_node.table_of(of_shard))
    ON CONFLICT (shard) DO UPDATE SET version = excluded.version;
    RETURN format('shard %s has its functions and triggers', of_shard);
  END IF;

  FOR of_shard IN SELECT shard FROM queuestats_node.shards WHERE is_counted LOOP
    EXECUTE format('SELECT queuestats_%s.is_proven()', of_shard) INTO is_proven;
    IF NOT is_proven THEN
      UPDATE queuestats_node.shards SET is_counted = false WHERE shard = of_shard;
      PERFORM queuestats_node.refresh();
      RETURN format('shard %s must be counted anew: a trigger was disabled', of_shard);
    END IF;
  END LOOP;

  -- In random order, so that a shard that can't be counted does not delay the others.
  SELECT shard INTO of_shard FROM queuestats_node.shards WHERE NOT is_counted ORDER BY random() LIMIT 1;
  IF of_shard IS NOT NULL THEN
    EXECUTE format('SELECT queuestats_%s.rebuild()', of_shard);
    UPDATE queuestats_node.shards SET is_counted = true WHERE shard = of_shard;
    PERFORM queuestats_node.refresh();
    RETURN format('shard %s is counted', of_shard);
  END IF;
  RETURN NULL;
END
$$;

-- refresh: makes the functions that read: one for each statement, with a branch for each shard. The statement of a
-- branch is static, so its plan is kept; the service's role has the settings that choose it (sql/roles.sql), on each
-- node.
CREATE OR REPLACE FUNCTION queuestats_node.refresh() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  reader queuestats_node.readers;
  branches text;
  parameters text;
  own text;
  declared text;
  collected text;
BEGIN
  PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
  FOR reader IN SELECT * FROM queuestats_node.readers LOOP
    SELECT coalesce(string_agg(format($branch$
      WHEN %s THEN
        RETURN QUERY SELECT positions[found.position], found.account_id, found.campaign_id, found.hold, found.isp,
                            found.new, found.proc, found.retry, found.total
        FROM (
%s
        ) AS found;$branch$, shard, replace(reader.body, '{shard}', cast(shard AS text))), '' ORDER BY shard),
      ' WHEN 0 THEN NULL;') INTO branches
    FROM queuestats_node.shards WHERE is_counted;
    SELECT string_agg(format('of_%s %s', name, type), ', ' ORDER BY number),
           string_agg(format('own_%s', name), ', ' ORDER BY number),
           string_agg(format('own_%s %s;', name, type), ' ' ORDER BY number),
           string_agg(format('array_agg(of_%s[number])', name), ', ' ORDER BY number)
    INTO parameters, own, declared, collected
    FROM unnest(reader.names, reader.types) WITH ORDINALITY AS parameter (name, type, number);
    PERFORM queuestats_node.create_or_replace(format($reader$
CREATE OR REPLACE FUNCTION queuestats_node.%I(of_shards bigint[], %s) RETURNS TABLE (
  "position" bigint, account_id bigint, campaign_id bigint, hold bigint, isp text,
  new bigint, proc bigint, retry bigint, total bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
#variable_conflict use_column
DECLARE
  of_shard bigint;
  counted_shard bigint;
  positions bigint[];
  %s
BEGIN
  -- As require_here, without a call: as a function it takes 68 us, of which the lock is 14 (docs/scaling.md).
  -- A shard that was split is not known any more: Citus says so by an internal error.
  BEGIN
    IF cardinality(of_shards) > 0 THEN
      PERFORM lock_shard_metadata(5, of_shards);
    END IF;
  EXCEPTION WHEN internal_error THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  END;
  IF pg_is_in_recovery() OR EXISTS (
    SELECT FROM unnest(of_shards) AS wanted (shard)
    WHERE NOT EXISTS (
      SELECT FROM pg_dist_placement
      WHERE shardid = wanted.shard AND groupid = (SELECT groupid FROM pg_dist_local_group)
    )
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'QS409', MESSAGE = 'a shard has moved';
  END IF;
  FOR of_shard, counted_shard, positions, %s IN
    SELECT each.shard,
           CASE
             WHEN own.is_counted AND own.relation = to_regclass('public.messages_' || each.shard) THEN each.shard
           END,
           array_agg(number), %s
    FROM unnest(of_shards) WITH ORDINALITY AS each (shard, number)
      LEFT JOIN queuestats_node.shards AS own ON own.shard = each.shard
    GROUP BY 1, 2
  LOOP
    CASE counted_shard%s
      ELSE
        -- Not counted yet: a row without counts says so.
        FOREACH "position" IN ARRAY positions LOOP
          RETURN NEXT;
        END LOOP;
    END CASE;
  END LOOP;
END
$body$
    $reader$, reader.name, parameters, declared, own, collected, branches), 'queuestats_node');
  END LOOP;
END
$$;

-- on_each_shard: calls fold or compact of every shard that has its schema here, and adds up what they did.
CREATE OR REPLACE FUNCTION queuestats_node.on_each_shard(call text, OUT done integer, OUT is_more boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_shard bigint;
  done_there integer;
  is_more_there boolean;
BEGIN
  done := 0;
  is_more := false;
  FOR of_shard IN SELECT shard FROM queuestats_node.shards LOOP
    EXECUTE format('SELECT * FROM queuestats_%s.%s', of_shard, call) INTO done_there, is_more_there;
    done := done + coalesce(done_there, 0);
    is_more := is_more OR coalesce(is_more_there, false);
  END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION queuestats_node.fold(max_deltas integer, mark_every double precision)
RETURNS TABLE (folded integer, is_more boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM queuestats_node.on_each_shard(format('fold(%L, %L)', max_deltas, mark_every))
$$;

CREATE OR REPLACE FUNCTION queuestats_node.compact(max_counters integer, compact_after interval)
RETURNS TABLE (compacted integer, is_more boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM queuestats_node.on_each_shard(format('compact(%L, %L)', max_counters, compact_after))
$$;

-- run: the rows of a statement on some shards as JSON. An error as require_here where a shard is not here, or not
-- counted.
CREATE OR REPLACE FUNCTION queuestats_node.run(
  statement text, parameters text[], of_shards bigint[], must_be_counted boolean
) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  body CONSTANT text := (SELECT statements.body FROM queuestats_node.statements WHERE name = statement);
  of_shard bigint;
BEGIN
  PERFORM queuestats_node.require_here(of_shards, must_be_counted);
  FOREACH of_shard IN ARRAY of_shards LOOP
    RETURN QUERY EXECUTE 'SELECT to_jsonb(found) FROM ('
      || replace(body, '{shard}', cast(of_shard AS text))
      || ') AS found' USING parameters;
  END LOOP;
END
$$;

-- audit: the differences of every shard that is here, each in a snapshot of its own, in READ COMMITTED. What it means,
-- and why the lock: counters/audit.sql. A shard that leaves meanwhile is left out.
CREATE OR REPLACE FUNCTION queuestats_node.audit(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set text, account_id bigint, campaign_id bigint, isp text,
  counted_new bigint, counted_proc bigint, counted_retry bigint, counted_hold bigint, counted_other bigint,
  kept_new bigint, kept_proc bigint, kept_retry bigint, kept_hold bigint, kept_other bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_shard bigint;
BEGIN
  FOR of_shard IN SELECT queuestats_node.counted() LOOP
    BEGIN
      EXECUTE format('LOCK TABLE queuestats_%s.queued_messages IN ACCESS SHARE MODE', of_shard);
      RETURN QUERY EXECUTE format(
        'SELECT sender_id, grouping_set::text, account_id, campaign_id, isp,'
        ' counted_new, counted_proc, counted_retry, counted_hold, counted_other,'
        ' kept_new, kept_proc, kept_retry, kept_hold, kept_other FROM queuestats_%s.audit($1)', of_shard
      ) USING of_sender;
    EXCEPTION WHEN undefined_table OR invalid_schema_name OR undefined_function THEN
      CONTINUE;
    END;
  END LOOP;
END
$$;

-- rebuild: counts a sender anew, on the node that has its shard.
CREATE OR REPLACE FUNCTION queuestats_node.rebuild(of_sender bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format(
    'SELECT queuestats_%s.rebuild($1)', queuestats_node.shard_of(of_sender)
  ) USING of_sender;
END
$$;

-- uncounted: how many shards that are here are not counted yet, or not by the newest definitions.
CREATE OR REPLACE FUNCTION queuestats_node.uncounted() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(*) FROM queuestats_node.placed() AS placed (shard) LEFT JOIN queuestats_node.shards USING (shard)
  WHERE version IS DISTINCT FROM (SELECT queuestats_node.version()) OR NOT is_counted
    OR relation IS DISTINCT FROM queuestats_node.table_of(placed.shard)
$$;
