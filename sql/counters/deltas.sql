-- deltas_by_grouping_set: the deltas as counters: all deltas, or (is_from_watermark) only those that readers add to the
-- counters.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".deltas_by_grouping_set(of_sender bigint, is_from_watermark boolean)
RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, "{schema}".grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
         "{schema}".counter_sum(retry), "{schema}".counter_sum(hold)
  FROM "{schema}".deltas LEFT JOIN "{schema}".trusted_watermarks USING (sender_id)
  WHERE (of_sender IS NULL OR sender_id = of_sender)
    AND (NOT is_from_watermark OR watermark IS NULL OR xid >= watermark OR xid = ANY (running))
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;
