-- account: as queries/account.sql without filters, both generations by one condition instead of a branch for each
-- indexes: counters_by_isp, deltas_sender_id_xid, horizons_pkey
-- parameters: sender_id bigint
SELECT /* candidates/generation_any/account.sql */
  account_id,
  cast(0 AS bigint) AS campaign_id,
  public.counter_sum(hold) AS hold,
  '' AS isp,
  public.counter_sum(new) AS new,
  public.counter_sum(proc) AS proc,
  public.counter_sum(retry) AS retry,
  public.counter_sum(new + proc + retry + hold) AS total
FROM (
  SELECT account_id, new, proc, retry, hold
  FROM counters
  WHERE sender_id = cast(:sender_id AS bigint)
    AND "grouping" = 3
    AND generation = ANY(
      ARRAY[0, (SELECT generation FROM horizons WHERE sender_id = cast(:sender_id AS bigint))]
    )
    AND isp >= ''
    AND isp = ''
    AND campaign_id = 0
  UNION ALL
  SELECT account_id, new, proc, retry, hold
  FROM public.unfolded(cast(:sender_id AS bigint), NULL, NULL, NULL)
) AS part
GROUP BY account_id
HAVING public.counter_sum(new + proc + retry + hold) <> 0
ORDER BY account_id
