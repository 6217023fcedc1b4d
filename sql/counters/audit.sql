-- unread_counts: rows that make reports wrong now or later. Either counters of an epoch that no watermark names:
-- readers add them once the sender reaches that epoch. Or deltas below a watermark: no fold takes them, and readers
-- skip them at the latest after the sender's next watermark. Only changes by hand leave such rows. NULL: of all
-- senders.
-- places: schema, queued
CREATE OR REPLACE FUNCTION "{schema}".unread_counts(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
  FROM "{schema}".counters
  WHERE (of_sender IS NULL OR sender_id = of_sender) AND epoch <> 0
    AND (sender_id, epoch) NOT IN (SELECT watermarks.sender_id, watermarks.epoch FROM "{schema}".watermarks)
  UNION ALL
  SELECT deltas.sender_id, 'account_campaign_isp', account_id, campaign_id, isp,
         "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
         "{schema}".counter_sum(retry), "{schema}".counter_sum(hold)
  FROM "{schema}".deltas
  WHERE (of_sender IS NULL OR deltas.sender_id = of_sender) AND EXISTS (
    SELECT FROM "{schema}".trusted_watermarks AS trusted
    WHERE trusted.sender_id IN (0, deltas.sender_id) AND xid < watermark AND xid <> ALL (running)
  )
  GROUP BY deltas.sender_id, account_id, campaign_id, isp
$$;

-- audit: every difference between the tables of counts and a recount, in one snapshot: of one sender, or of all (NULL).
-- It adds up what readers add up, and unread_counts, which must be empty. No row: the counts are exact, now and after
-- any fold. `counted_other`: messages of a status that no report has.
-- Before it, run LOCK TABLE messages IN ACCESS SHARE MODE in the same transaction. Otherwise a TRUNCATE that commits
-- between the snapshot and the recount empties messages for that snapshot too, which looks like drift.
-- row_security = off: a policy that hides messages causes an error and not a smaller count.
CREATE OR REPLACE FUNCTION "{schema}".audit(of_sender bigint DEFAULT NULL) RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  counted_new bigint, counted_proc bigint, counted_retry bigint, counted_hold bigint, counted_other bigint,
  kept_new bigint, kept_proc bigint, kept_retry bigint, kept_hold bigint, kept_other bigint
) LANGUAGE plpgsql STABLE
SET row_security = off SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp,
           "{schema}".counter_sum(new) FILTER (WHERE is_recount) AS counted_new,
           "{schema}".counter_sum(proc) FILTER (WHERE is_recount) AS counted_proc,
           "{schema}".counter_sum(retry) FILTER (WHERE is_recount) AS counted_retry,
           "{schema}".counter_sum(hold) FILTER (WHERE is_recount) AS counted_hold,
           "{schema}".counter_sum(other) AS counted_other,
           "{schema}".counter_sum(new) FILTER (WHERE NOT is_recount) AS kept_new,
           "{schema}".counter_sum(proc) FILTER (WHERE NOT is_recount) AS kept_proc,
           "{schema}".counter_sum(retry) FILTER (WHERE NOT is_recount) AS kept_retry,
           "{schema}".counter_sum(hold) FILTER (WHERE NOT is_recount) AS kept_hold,
           0::bigint AS kept_other
    FROM (
      SELECT *, true AS is_recount FROM "{schema}".recount(of_sender)
      UNION ALL
      SELECT *, 0, false FROM "{schema}".deltas_by_grouping_set(of_sender, is_from_watermark => true)
      UNION ALL
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold, 0, false
      FROM "{schema}".counters
      WHERE (of_sender IS NULL OR sender_id = of_sender) AND epoch = 0
      UNION ALL
      -- If a watermark names epoch 0, readers count this epoch twice, and so does this branch: see read.sql.
      SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold, 0, false
      FROM "{schema}".counters JOIN "{schema}".watermarks USING (sender_id, epoch)
      WHERE of_sender IS NULL OR sender_id = of_sender
    ) AS part
    GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  ) AS compared
  WHERE (counted_new, counted_proc, counted_retry, counted_hold, counted_other)
    <> (kept_new, kept_proc, kept_retry, kept_hold, kept_other)
  UNION ALL
  SELECT sender_id, grouping_set, account_id, campaign_id, isp, 0, 0, 0, 0, 0, new, proc, retry, hold, 0
  FROM "{schema}".unread_counts(of_sender)
  WHERE new <> 0 OR proc <> 0 OR retry <> 0 OR hold <> 0
  UNION ALL
  -- sender_totals, by which the largest senders are found, repeats these counters.
  SELECT sender_id, 'total', 0, 0, '', counter.new, counter.proc, counter.retry, counter.hold, 0,
         ranked.new, ranked.proc, ranked.retry, ranked.hold, 0
  FROM (
    SELECT sender_id, new, proc, retry, hold FROM "{schema}".counters
    WHERE grouping_set = 'total' AND epoch = 0 AND (of_sender IS NULL OR sender_id = of_sender)
  ) AS counter
    FULL JOIN (
      SELECT sender_id, new, proc, retry, hold FROM "{schema}".sender_totals
      WHERE of_sender IS NULL OR sender_id = of_sender
    ) AS ranked USING (sender_id)
  WHERE (coalesce(counter.new, 0), coalesce(counter.proc, 0), coalesce(counter.retry, 0), coalesce(counter.hold, 0))
    <> (coalesce(ranked.new, 0), coalesce(ranked.proc, 0), coalesce(ranked.retry, 0), coalesce(ranked.hold, 0))
  ORDER BY sender_id, grouping_set, account_id, campaign_id, isp;
END
$$;

-- senders_at: the senders of the messages at these addresses, and those of a thousand further messages.
CREATE OR REPLACE FUNCTION "{schema}".senders_at(addresses tid[]) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $queuestats$
BEGIN
  RETURN QUERY SELECT message.sender_id FROM "{queued}" AS message WHERE message.address = ANY (addresses);
  RETURN QUERY SELECT message.sender_id FROM "{queued}" AS message LIMIT 1000;
END
$queuestats$;

REVOKE EXECUTE ON FUNCTION "{schema}".senders_at(tid[]) FROM PUBLIC;
