-- account_campaign: as queries/from_counters/account_campaign.sql, with PostgreSQL's own sum(), which makes numeric of
-- bigint
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint
SELECT /* candidates/numeric_sum/account_campaign.sql */
  account_id,
  campaign_id,
  cast(sum(hold) AS bigint) AS hold,
  '' AS isp,
  cast(sum(new) AS bigint) AS new,
  cast(sum(proc) AS bigint) AS proc,
  cast(sum(retry) AS bigint) AS retry,
  cast(sum(new + proc + retry + hold) AS bigint) AS total
FROM (
  SELECT account_id, campaign_id, new, proc, retry, hold
  FROM queuestats.current_counters(cast(:sender_id AS bigint), queuestats.grouping_of(true, true, false))
  WHERE account_id >= 0
  UNION ALL
  SELECT account_id, campaign_id, new, proc, retry, hold
  FROM queuestats.pending_deltas(cast(:sender_id AS bigint), NULL, NULL, NULL)
  ORDER BY account_id, campaign_id
) AS part
GROUP BY account_id, campaign_id
HAVING sum(new + proc + retry + hold) <> 0
ORDER BY account_id, campaign_id
