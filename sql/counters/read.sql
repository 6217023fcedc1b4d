-- What readers ask: counters and pending deltas of one sender in one statement, and so in one snapshot. Every question
-- on the wire is one of these look-ups. Its counters are an equality on a prefix of one of their two indexes whatever
-- the filters are, so one prepared plan is right for all of them. Deltas are few, and are filtered as they are read.
-- NULL: no filter.
-- Plain STABLE SQL functions: the planner puts their text in place of the call, also in a LATERAL over many askers.
--
-- The ORDER BY inside lets long answers be summed up in their order: twice as fast as a hash table that is sorted
-- afterwards.
--
-- account_id >= 0 and isp >= '' are always true: each is the predicate of one of the two indexes, and so chooses it.
-- Left to itself the planner sees no difference between them while the tables are small or never were analysed, and a
-- prepared plan outlives that.

-- GROUPING(account_id, campaign_id, isp) of the rows that are kept for these columns.
CREATE OR REPLACE FUNCTION queuestats.grouping_of(is_by_account boolean, is_by_campaign boolean, is_by_isp boolean)
RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (CASE WHEN is_by_account THEN 0 ELSE 4 END + CASE WHEN is_by_campaign THEN 0 ELSE 2 END
    + CASE WHEN is_by_isp THEN 0 ELSE 1 END)::smallint
$$;

-- A sender's counters of one grouping: epoch 0, and the one that a hot sender is folded into.
-- Two branches, because with epoch = ANY (…) PostgreSQL 15 and 16 may leave the epoch out of the index
-- condition.
CREATE OR REPLACE FUNCTION queuestats.current_counters(of_sender bigint, of_grouping smallint)
RETURNS SETOF queuestats.counters LANGUAGE sql STABLE AS $$
  SELECT * FROM queuestats.counters
  WHERE sender_id = of_sender AND "grouping" = of_grouping AND epoch = 0
  UNION ALL
  SELECT * FROM queuestats.counters
  WHERE sender_id = of_sender AND "grouping" = of_grouping
    AND epoch = (SELECT epoch FROM queuestats.watermarks WHERE sender_id = of_sender)
$$;

-- A sender's deltas that are not folded yet: from the watermark on, and below it those of the few transactions that
-- were running when it was set. What an old snapshot or an open transaction keeps from being vacuumed is not visited.
-- OFFSET 0 keeps the planner from another join than a look-up by sender and transaction for each of the few.
CREATE OR REPLACE FUNCTION queuestats.pending_deltas(
  of_sender bigint, of_account bigint, of_campaign bigint, of_isp text
) RETURNS SETOF queuestats.deltas LANGUAGE sql STABLE AS $$
  SELECT * FROM queuestats.deltas
  WHERE sender_id = of_sender
    AND xid >= coalesce((SELECT watermark FROM queuestats.trusted_watermarks WHERE sender_id = of_sender), '0')
    AND (of_account IS NULL OR account_id = of_account)
    AND (of_campaign IS NULL OR campaign_id = of_campaign)
    AND (of_isp IS NULL OR isp = of_isp)
  UNION ALL
  SELECT late.*
  FROM unnest((SELECT running FROM queuestats.trusted_watermarks WHERE sender_id = of_sender)) AS running (id)
    CROSS JOIN LATERAL (
      SELECT * FROM queuestats.deltas
      WHERE sender_id = of_sender AND xid = running.id
        AND (of_account IS NULL OR account_id = of_account)
        AND (of_campaign IS NULL OR campaign_id = of_campaign)
        AND (of_isp IS NULL OR isp = of_isp)
      OFFSET 0
    ) AS late
$$;

-- The sum of what the filters leave: one row, always. Reads one counter row an epoch.
CREATE OR REPLACE FUNCTION queuestats.read_total(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text)
RETURNS TABLE (new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT new, proc, retry, hold
    FROM queuestats.current_counters(
      of_sender, queuestats.grouping_of(of_account IS NOT NULL, of_campaign IS NOT NULL, of_isp IS NOT NULL)
    )
    WHERE account_id >= 0
      AND account_id = coalesce(of_account, 0) AND campaign_id = coalesce(of_campaign, 0) AND isp = coalesce(of_isp, '')
    UNION ALL
    SELECT new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, of_account, of_campaign, of_isp)
  ) AS part
$$;

-- Accounts that have messages, in ascending order. Reads as many counter rows an epoch as it returns.
CREATE OR REPLACE FUNCTION queuestats.read_accounts(of_sender bigint, of_campaign bigint, of_isp text)
RETURNS TABLE (account_id bigint, new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT account_id,
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT account_id, new, proc, retry, hold
    FROM queuestats.current_counters(
      of_sender, queuestats.grouping_of(true, of_campaign IS NOT NULL, of_isp IS NOT NULL)
    )
    WHERE isp >= '' AND campaign_id = coalesce(of_campaign, 0) AND isp = coalesce(of_isp, '')
    UNION ALL
    SELECT account_id, new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, NULL, of_campaign, of_isp)
    ORDER BY account_id
  ) AS part
  GROUP BY account_id
  HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
  ORDER BY account_id
$$;

-- ISPs that have messages, ordered by their bytes. Reads as many counter rows an epoch as it returns.
CREATE OR REPLACE FUNCTION queuestats.read_isps(of_sender bigint, of_account bigint, of_campaign bigint)
RETURNS TABLE (isp text, new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT isp, queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT isp, new, proc, retry, hold
    FROM queuestats.current_counters(
      of_sender, queuestats.grouping_of(of_account IS NOT NULL, of_campaign IS NOT NULL, true)
    )
    WHERE account_id >= 0 AND account_id = coalesce(of_account, 0) AND campaign_id = coalesce(of_campaign, 0)
    UNION ALL
    SELECT isp, new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, of_account, of_campaign, NULL)
    ORDER BY isp
  ) AS part
  GROUP BY isp
  HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
  ORDER BY isp
$$;

-- Pairs of account and campaign that have messages, in ascending order. Reads as many counter rows an epoch as it
-- returns.
CREATE OR REPLACE FUNCTION queuestats.read_account_campaigns(of_sender bigint)
RETURNS TABLE (account_id bigint, campaign_id bigint, new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT account_id, campaign_id,
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT account_id, campaign_id, new, proc, retry, hold
    FROM queuestats.current_counters(of_sender, queuestats.grouping_of(true, true, false))
    WHERE account_id >= 0
    UNION ALL
    SELECT account_id, campaign_id, new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, NULL, NULL, NULL)
    ORDER BY account_id, campaign_id
  ) AS part
  GROUP BY account_id, campaign_id
  HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
  ORDER BY account_id, campaign_id
$$;

-- The same of one ISP. Apart, because its rows stand in the other index.
CREATE OR REPLACE FUNCTION queuestats.read_account_campaigns_of_isp(of_sender bigint, of_isp text)
RETURNS TABLE (account_id bigint, campaign_id bigint, new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT account_id, campaign_id,
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT account_id, campaign_id, new, proc, retry, hold
    FROM queuestats.current_counters(of_sender, queuestats.grouping_of(true, true, true))
    WHERE isp >= '' AND isp = of_isp
    UNION ALL
    SELECT account_id, campaign_id, new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, NULL, NULL, of_isp)
    ORDER BY account_id, campaign_id
  ) AS part
  GROUP BY account_id, campaign_id
  HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
  ORDER BY account_id, campaign_id
$$;

-- One account's campaigns that have messages, in ascending order. Reads as many counter rows an epoch as it
-- returns; with an ISP all of the account's rows by campaign and ISP. IS TRUE keeps the ISP from proving the other
-- index's predicate.
CREATE OR REPLACE FUNCTION queuestats.read_campaigns(of_sender bigint, of_account bigint, of_isp text)
RETURNS TABLE (campaign_id bigint, new bigint, proc bigint, retry bigint, hold bigint)
LANGUAGE sql STABLE AS $$
  SELECT campaign_id,
         queuestats.counter_sum(new), queuestats.counter_sum(proc),
         queuestats.counter_sum(retry), queuestats.counter_sum(hold)
  FROM (
    SELECT campaign_id, new, proc, retry, hold
    FROM queuestats.current_counters(of_sender, queuestats.grouping_of(true, true, of_isp IS NOT NULL))
    WHERE account_id >= 0 AND account_id = of_account AND (isp = coalesce(of_isp, '')) IS TRUE
    UNION ALL
    SELECT campaign_id, new, proc, retry, hold FROM queuestats.pending_deltas(of_sender, of_account, NULL, of_isp)
    ORDER BY campaign_id
  ) AS part
  GROUP BY campaign_id
  HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
  ORDER BY campaign_id
$$;
