-- audit: every difference between what readers are answered and a recount, in one snapshot: of one sender, or of all
-- (NULL). No row: exact. `counted_other`: messages of a status that no answer has.
-- Before it, in the same transaction: LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE. A TRUNCATE that
-- commits between the snapshot and the recount would empty messages for that snapshot too, and be taken for drift.
-- row_security = off: where a policy would hide messages, it is an error and no smaller count.
CREATE OR REPLACE FUNCTION queuestats.audit(of_sender bigint DEFAULT NULL) RETURNS TABLE (
  sender_id bigint, grouping_set queuestats.grouping_set, account_id bigint, campaign_id bigint, isp text,
  counted_new bigint, counted_proc bigint, counted_retry bigint, counted_hold bigint, counted_other bigint,
  kept_new bigint, kept_proc bigint, kept_retry bigint, kept_hold bigint, kept_other bigint
) LANGUAGE plpgsql STABLE
SET row_security = off SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp,
           queuestats.counter_sum(new) FILTER (WHERE is_recount) AS counted_new,
           queuestats.counter_sum(proc) FILTER (WHERE is_recount) AS counted_proc,
           queuestats.counter_sum(retry) FILTER (WHERE is_recount) AS counted_retry,
           queuestats.counter_sum(hold) FILTER (WHERE is_recount) AS counted_hold,
           queuestats.counter_sum(other) AS counted_other,
           queuestats.counter_sum(new) FILTER (WHERE NOT is_recount) AS kept_new,
           queuestats.counter_sum(proc) FILTER (WHERE NOT is_recount) AS kept_proc,
           queuestats.counter_sum(retry) FILTER (WHERE NOT is_recount) AS kept_retry,
           queuestats.counter_sum(hold) FILTER (WHERE NOT is_recount) AS kept_hold,
           0::bigint AS kept_other
    FROM (
      SELECT *, true AS is_recount FROM queuestats.recount(of_sender)
      UNION ALL
      SELECT *, 0, false FROM queuestats.deltas_by_grouping_set(of_sender, is_from_watermark => true)
      UNION ALL
      SELECT counters.sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold, 0, false
      FROM queuestats.counters LEFT JOIN queuestats.watermarks USING (sender_id)
      WHERE (of_sender IS NULL OR counters.sender_id = of_sender)
        AND counters.epoch IN (0, watermarks.epoch)
    ) AS part
    GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
  ) AS compared
  WHERE (counted_new, counted_proc, counted_retry, counted_hold, counted_other)
    <> (kept_new, kept_proc, kept_retry, kept_hold, kept_other)
  UNION ALL
  -- What the largest senders are found by, beside the counters that it repeats.
  SELECT sender_id, 'total', 0, 0, '', counter.new, counter.proc, counter.retry, counter.hold, 0,
         ranked.new, ranked.proc, ranked.retry, ranked.hold, 0
  FROM (
    SELECT sender_id, new, proc, retry, hold FROM queuestats.counters
    WHERE grouping_set = 'total' AND epoch = 0 AND (of_sender IS NULL OR sender_id = of_sender)
  ) AS counter
    FULL JOIN (
      SELECT sender_id, new, proc, retry, hold FROM queuestats.sender_totals
      WHERE of_sender IS NULL OR sender_id = of_sender
    ) AS ranked USING (sender_id)
  WHERE (coalesce(counter.new, 0), coalesce(counter.proc, 0), coalesce(counter.retry, 0), coalesce(counter.hold, 0))
    <> (coalesce(ranked.new, 0), coalesce(ranked.proc, 0), coalesce(ranked.retry, 0), coalesce(ranked.hold, 0))
  ORDER BY sender_id, grouping_set, account_id, campaign_id, isp;
END
$$;
