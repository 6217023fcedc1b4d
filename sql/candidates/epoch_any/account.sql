-- account: as queries/from_counters/account.sql without filters, both epochs by one condition instead of a branch for
-- each
-- indexes: counters_by_isp, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint
SELECT /* candidates/epoch_any/account.sql */
  account_id,
  cast(0 AS bigint) AS campaign_id,
  queuestats.counter_sum(hold) AS hold,
  '' AS isp,
  queuestats.counter_sum(new) AS new,
  queuestats.counter_sum(proc) AS proc,
  queuestats.counter_sum(retry) AS retry,
  queuestats.counter_sum(new + proc + retry + hold) AS total
FROM (
  SELECT account_id, new, proc, retry, hold
  FROM queuestats.counters
  WHERE sender_id = cast(:sender_id AS bigint)
    AND "grouping" = 3
    AND epoch = ANY(
      ARRAY[0, (SELECT epoch FROM queuestats.watermarks WHERE sender_id = cast(:sender_id AS bigint))]
    )
    AND isp >= ''
    AND isp = ''
    AND campaign_id = 0
  UNION ALL
  SELECT account_id, new, proc, retry, hold
  FROM queuestats.pending_deltas(cast(:sender_id AS bigint), NULL, NULL, NULL)
) AS part
GROUP BY account_id
HAVING queuestats.counter_sum(new + proc + retry + hold) <> 0
ORDER BY account_id
