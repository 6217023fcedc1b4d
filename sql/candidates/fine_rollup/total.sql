-- total: as queries/from_counters/total.sql, but as the sum of the finest counters, as if no other counters existed
-- Reads a row for each account, campaign and ISP that has messages.
-- parameters: sender_id bigint
SELECT /* candidates/fine_rollup/total.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  queuestats.counter_sum(hold) AS hold,
  '' AS isp,
  queuestats.counter_sum(new) AS new,
  queuestats.counter_sum(proc) AS proc,
  queuestats.counter_sum(retry) AS retry,
  queuestats.counter_sum(new + proc + retry + hold) AS total
FROM (
  SELECT new, proc, retry, hold
  FROM queuestats.current_counters(cast(:sender_id AS bigint), 'account_campaign_isp')
  WHERE account_id >= 0
  UNION ALL
  SELECT new, proc, retry, hold FROM queuestats.pending_deltas(cast(:sender_id AS bigint), NULL, NULL, NULL)
) AS part
