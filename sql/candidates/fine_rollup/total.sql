-- total: as queries/total.sql, added up from the finest counters alone, as if no others were kept
-- Reads a row for each account, campaign and ISP that has messages.
-- parameters: sender_id bigint
SELECT /* candidates/fine_rollup/total.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  public.counter_sum(hold) AS hold,
  '' AS isp,
  public.counter_sum(new) AS new,
  public.counter_sum(proc) AS proc,
  public.counter_sum(retry) AS retry,
  public.counter_sum(new + proc + retry + hold) AS total
FROM (
  SELECT new, proc, retry, hold
  FROM public.kept(cast(:sender_id AS bigint), public.grouping_of(true, true, true))
  WHERE account_id >= 0
  UNION ALL
  SELECT new, proc, retry, hold FROM public.unfolded(cast(:sender_id AS bigint), NULL, NULL, NULL)
) AS part
