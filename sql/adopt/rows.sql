-- record_row: the same as record_insert, record_update and record_delete, for one row of a partitioned table.
-- PostgreSQL creates the row triggers of a table on a new partition, but no statement triggers.
-- places: schema, messages_oid, new_row, old_row, try_new_row, try_old_row
CREATE OR REPLACE FUNCTION "{schema}".record_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $queuestats$
#variable_conflict use_column
DECLARE
  arrived bigint[];
  old_sender bigint; old_id bigint; -- For a message that was on hold.
  new_sender bigint; new_id bigint; -- For a message that is on hold.
BEGIN
  -- The copy in a trial is not partitioned, so its root is NULL.
  IF coalesce(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM "{messages_oid}"
    AND NOT "{schema}".is_part_of_messages(TG_RELID) THEN
    RETURN NULL;
  END IF;
  -- One block for both rows, because each block starts a subtransaction for each row.
  BEGIN
    IF TG_OP <> 'INSERT' THEN
      "{try_old_row}"
    END IF;
    IF TG_OP <> 'DELETE' THEN
      "{try_new_row}"
    END IF;
  EXCEPTION WHEN OTHERS THEN
    PERFORM "{schema}".remember_uncounted();
    RETURN NULL;
  END;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest)
    SELECT sender_id, account_id, campaign_id, isp,
           (status = 'new')::int, (status = 'proc')::int, (status = 'retry')::int, (status = 'hold')::int,
           created_at
    FROM "{new_row}";
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold)
    SELECT sender_id, account_id, campaign_id, isp,
           -(status = 'new')::int, -(status = 'proc')::int, -(status = 'retry')::int, -(status = 'hold')::int
    FROM "{old_row}";
  ELSE
    -- One delta if the key stays the same. With two deltas, net is 0 if the sender stays the same.
    INSERT INTO "{schema}".deltas (sender_id, account_id, campaign_id, isp, new, proc, retry, hold, oldest, came, net)
    SELECT sender_id, account_id, campaign_id, isp,
           sum(CASE status WHEN 'new' THEN sign ELSE 0 END), sum(CASE status WHEN 'proc' THEN sign ELSE 0 END),
           sum(CASE status WHEN 'retry' THEN sign ELSE 0 END), sum(CASE status WHEN 'hold' THEN sign ELSE 0 END),
           min(arrived_at), max(arrived_in), CASE WHEN count(*) OVER (PARTITION BY sender_id) = 2 THEN 0 END
    FROM (
      SELECT sender_id, account_id, campaign_id, isp, status, 1 AS sign,
             created_at AS arrived_at, CAST(NULL AS timestamp with time zone) AS left_at,
             CASE status WHEN 'new' THEN 1 WHEN 'proc' THEN 2 WHEN 'retry' THEN 4 ELSE 8 END AS arrived_in
      FROM "{new_row}"
      UNION ALL
      SELECT sender_id, account_id, campaign_id, isp, status, -1, NULL, created_at, NULL FROM "{old_row}"
    ) AS message
    GROUP BY sender_id, account_id, campaign_id, isp
    HAVING count(DISTINCT status) = 2 OR count(*) = 1 OR min(arrived_at) < coalesce(min(left_at), 'infinity');
  END IF;
  IF TG_OP <> 'INSERT' AND EXISTS (SELECT FROM "{schema}".held_messages) THEN
    SELECT sender_id, id INTO old_sender, old_id FROM "{old_row}" WHERE status = 'hold';
    IF old_id IS NOT NULL AND TG_OP = 'UPDATE' THEN
      SELECT sender_id, id INTO new_sender, new_id FROM "{new_row}" WHERE status = 'hold';
    END IF;
  END IF;
  IF old_id IS NOT NULL AND (old_sender, old_id) IS DISTINCT FROM (new_sender, new_id) THEN
    PERFORM "{schema}".follow_held(ARRAY[old_sender], ARRAY[old_id], ARRAY[new_sender], ARRAY[new_id]);
  END IF;
  IF TG_OP <> 'DELETE' AND EXISTS (SELECT FROM "{schema}".holds) THEN
    arrived := ARRAY(
      SELECT id FROM "{new_row}"
      WHERE status IN ('new', 'retry') AND EXISTS (SELECT FROM "{schema}".holds WHERE sender_id = new_row.sender_id)
    );
    IF cardinality(arrived) > 0 THEN
      PERFORM "{schema}".hold_arrived(arrived);
    END IF;
  END IF;
  RETURN NULL;
END
$queuestats$;

REVOKE EXECUTE ON FUNCTION "{schema}".record_row() FROM PUBLIC;
