-- campaign: a queue by campaign, in ascending order; with an account, only the campaigns of this account
-- One query for each position of the arrays, from 1 on. The arrays are of one length.
-- A NULL filter matches every message. With an ISP, all rows by campaign and ISP are read. IS TRUE prevents the ISP
-- from implying the predicate of the other index.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[], account_id bigint[], isp text[]
SELECT /* queries/from_counters/campaign.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  found.campaign_id,
  found.hold,
  '' AS isp,
  found.new,
  found.proc,
  found.retry,
  found.new + found.proc + found.retry + found.hold AS total
FROM
  unnest(
    cast(:sender_id AS bigint[]),
    cast(:account_id AS bigint[]),
    cast(:isp AS text[])
  ) WITH ORDINALITY AS query (sender_id, account_id, isp, position)
  CROSS JOIN LATERAL (
    SELECT
      campaign_id,
      "{schema}".counter_sum(new) AS new,
      "{schema}".counter_sum(proc) AS proc,
      "{schema}".counter_sum(retry) AS retry,
      "{schema}".counter_sum(hold) AS hold
    FROM (
      SELECT campaign_id, new, proc, retry, hold
      FROM "{schema}".current_counters(
          query.sender_id, "{schema}".grouping_set_of(query.account_id IS NOT NULL, true, query.isp IS NOT NULL)
        )
      WHERE account_id >= 0
        AND account_id = coalesce(query.account_id, 0)
        AND (isp = coalesce(query.isp, '')) IS true
      UNION ALL
      SELECT campaign_id, new, proc, retry, hold
      FROM "{schema}".pending_deltas(query.sender_id, query.account_id, NULL, query.isp)
      ORDER BY campaign_id
    ) AS part
    GROUP BY campaign_id
    HAVING "{schema}".counter_sum(new + proc + retry + hold) <> 0
  ) AS found
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position, found.campaign_id
