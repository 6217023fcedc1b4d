-- The functions that the queries in sql/queries/from_counters/ read, in one statement and so in one snapshot: a
-- sender's counters of one grouping set, and its pending deltas. The condition on counters is an equality on a prefix
-- of one of their two indexes for any filters, so one prepared plan fits all callers. Deltas are few, and are filtered
-- as they are read.
-- Plain STABLE SQL functions, inlined by the planner.
-- places: schema

-- Epoch 0, and the current epoch of a hot sender. The caller adds account_id >= 0 or isp >= ''. Both conditions are
-- always true. Each is the predicate of one of the two indexes, and so selects it.
-- Two branches, because with epoch = ANY (...) PostgreSQL 15 and 16 may leave the epoch out of the index condition.
CREATE OR REPLACE FUNCTION "{schema}".current_counters(of_sender bigint, of_grouping_set "{schema}".grouping_set)
RETURNS SETOF "{schema}".counters LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".counters
  WHERE sender_id = of_sender AND grouping_set = of_grouping_set AND epoch = 0
  UNION ALL
  SELECT * FROM "{schema}".counters
  WHERE sender_id = of_sender AND grouping_set = of_grouping_set
    AND epoch = (SELECT epoch FROM "{schema}".watermarks WHERE sender_id = of_sender)
$$;

-- The pending deltas of a sender: those from the watermark on, and below it those of the few transactions that were
-- running when the watermark was set. Dead rows that an old snapshot or an open transaction keeps are not visited.
-- A NULL filter matches every delta.
-- OFFSET 0 keeps the planner from any join other than a look-up by sender and transaction for each running transaction.
CREATE OR REPLACE FUNCTION "{schema}".pending_deltas(
  of_sender bigint, of_account bigint, of_campaign bigint, of_isp text
) RETURNS SETOF "{schema}".deltas LANGUAGE sql STABLE AS $$
  SELECT * FROM "{schema}".deltas
  WHERE sender_id = of_sender
    AND xid >= coalesce((SELECT watermark FROM "{schema}".trusted_watermarks WHERE sender_id = of_sender), '0')
    AND (of_account IS NULL OR account_id = of_account)
    AND (of_campaign IS NULL OR campaign_id = of_campaign)
    AND (of_isp IS NULL OR isp = of_isp)
  UNION ALL
  SELECT late.*
  FROM unnest((SELECT running FROM "{schema}".trusted_watermarks WHERE sender_id = of_sender)) AS running (id)
    CROSS JOIN LATERAL (
      SELECT * FROM "{schema}".deltas
      WHERE sender_id = of_sender AND xid = running.id
        AND (of_account IS NULL OR account_id = of_account)
        AND (of_campaign IS NULL OR campaign_id = of_campaign)
        AND (of_isp IS NULL OR isp = of_isp)
      OFFSET 0
    ) AS late
$$;

-- The senders whose counts of a grouping set are not those of epoch 0 alone: each once, and some that are after all.
-- They have pending deltas, or counters in their current epoch.
-- The conditions on the counts of deltas keep the planner from an index-only scan of the whole index by sender.
CREATE OR REPLACE FUNCTION "{schema}".changing_senders(of_grouping_set "{schema}".grouping_set)
RETURNS TABLE (sender_id bigint) LANGUAGE sql STABLE AS $$
  WITH horizon AS MATERIALIZED (
    SELECT coalesce(max(watermark), '0') AS watermark, coalesce(max(running), '{}') AS running
    FROM "{schema}".trusted_watermarks WHERE sender_id = 0
  )
  SELECT sender_id FROM "{schema}".deltas
  WHERE xid >= (SELECT watermark FROM horizon) AND xid >= '0'
    AND (new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0)
  UNION
  SELECT late.sender_id
  FROM unnest((SELECT running FROM horizon)) AS running (id)
    CROSS JOIN LATERAL (
      SELECT sender_id FROM "{schema}".deltas
      WHERE xid = running.id AND xid >= '0' AND (new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0)
      OFFSET 0
    ) AS late
  UNION
  SELECT hot.sender_id
  FROM "{schema}".watermarks AS hot
  WHERE EXISTS (
    SELECT FROM "{schema}".counters AS counter
    WHERE counter.sender_id = hot.sender_id
      AND counter.grouping_set = of_grouping_set AND counter.epoch = hot.epoch AND counter.account_id >= 0
  )
$$;
