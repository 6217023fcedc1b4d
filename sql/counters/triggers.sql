-- messages_inserted, messages_updated, messages_deleted: write down, in the writer's own transaction, by how much every
-- key's counts changed. One delta row a key and statement; nothing is updated, so writers never wait for each other
-- here.
--
-- SECURITY DEFINER: a writer needs rights on messages alone.
-- The other settings keep the writer's own out of the plan, which lives as long as its session: grouped in a hash
-- table, a third cheaper than sorting first, and one that stays small even when the session's first statement was a
-- huge one.

CREATE OR REPLACE FUNCTION queuestats.record_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET jit = off AS $$
BEGIN
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, account_id, campaign_id, isp,
         count(*) FILTER (WHERE status = 'new'),
         count(*) FILTER (WHERE status = 'proc'),
         count(*) FILTER (WHERE status = 'retry'),
         count(*) FILTER (WHERE status = 'hold')
  FROM new_rows
  GROUP BY sender_id, account_id, campaign_id, isp;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION queuestats.record_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET jit = off AS $$
BEGIN
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT sender_id, account_id, campaign_id, isp,
         -count(*) FILTER (WHERE status = 'new'),
         -count(*) FILTER (WHERE status = 'proc'),
         -count(*) FILTER (WHERE status = 'retry'),
         -count(*) FILTER (WHERE status = 'hold')
  FROM old_rows
  GROUP BY sender_id, account_id, campaign_id, isp;
  RETURN NULL;
END
$$;

-- An update is what left and what came; keys on which both cancel out leave no delta.
CREATE OR REPLACE FUNCTION queuestats.record_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET work_mem = '256kB' SET enable_sort = off SET jit = off AS $$
BEGIN
  INSERT INTO queuestats.deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
  SELECT delta.*
  FROM (
    SELECT sender_id, account_id, campaign_id, isp,
           sum(CASE status WHEN 'new' THEN sign ELSE 0 END) AS new,
           sum(CASE status WHEN 'proc' THEN sign ELSE 0 END) AS proc,
           sum(CASE status WHEN 'retry' THEN sign ELSE 0 END) AS retry,
           sum(CASE status WHEN 'hold' THEN sign ELSE 0 END) AS hold
    FROM (
      SELECT sender_id, account_id, campaign_id, isp, status, 1 AS sign FROM new_rows
      UNION ALL
      SELECT sender_id, account_id, campaign_id, isp, status, -1 AS sign FROM old_rows
    ) AS message
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS delta
  WHERE delta.new <> 0 OR delta.proc <> 0 OR delta.retry <> 0 OR delta.hold <> 0;
  RETURN NULL;
END
$$;

-- TRUNCATE has no transition table. The folder's lock comes first: a fold under way would put its sums back after the
-- counters were emptied.
-- Readers lock the three tables in the order of their plans, and no order fits all plans. So whoever comes here does
-- not hold one table for long while it waits for another: it lets go of all and tries again, for as long as the
-- session's own lock_timeout allows.
CREATE OR REPLACE FUNCTION queuestats.record_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own_limit CONSTANT text := current_setting('lock_timeout');
  own_limit_ms CONSTANT integer := (SELECT setting FROM pg_settings WHERE name = 'lock_timeout');
  began_at CONSTANT timestamptz := clock_timestamp();
BEGIN
  PERFORM pg_advisory_xact_lock(queuestats.folder_lock());
  LOOP
    BEGIN
      PERFORM set_config('lock_timeout', '100ms', true);
      TRUNCATE queuestats.watermarks, queuestats.counters, queuestats.deltas;
      PERFORM set_config('lock_timeout', own_limit, true);
      RETURN NULL;
    EXCEPTION WHEN lock_not_available THEN -- the locks and the setting are as they were before
      IF own_limit_ms > 0 AND clock_timestamp() > began_at + own_limit_ms * interval '1 ms' THEN
        RAISE;
      END IF;
    END;
  END LOOP;
END
$$;
