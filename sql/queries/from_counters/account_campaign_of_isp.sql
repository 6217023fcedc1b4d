-- account_campaign_of_isp: the messages of one ISP in a queue, by account and campaign, in ascending order
-- One query for each position of the arrays, from 1 on. The arrays are of one length.
-- The file is separate from account_campaign, because the statement reads the other index.
-- indexes: counters_by_isp, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[], isp text[]
SELECT /* queries/from_counters/account_campaign_of_isp.sql */
  query.position,
  found.account_id,
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
    cast(:isp AS text[])
  ) WITH ORDINALITY AS query (sender_id, isp, position)
  CROSS JOIN LATERAL (
    SELECT
      account_id,
      campaign_id,
      "{schema}".counter_sum(new) AS new,
      "{schema}".counter_sum(proc) AS proc,
      "{schema}".counter_sum(retry) AS retry,
      "{schema}".counter_sum(hold) AS hold
    FROM (
      SELECT account_id, campaign_id, new, proc, retry, hold
      FROM "{schema}".current_counters(
          query.sender_id, 'account_campaign_isp'
        )
      WHERE isp >= ''
        AND isp = query.isp
      UNION ALL
      SELECT account_id, campaign_id, new, proc, retry, hold
      FROM "{schema}".pending_deltas(query.sender_id, NULL, NULL, query.isp)
      ORDER BY account_id, campaign_id
    ) AS part
    GROUP BY account_id, campaign_id
    HAVING "{schema}".counter_sum(new + proc + retry + hold) <> 0
  ) AS found
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position, found.account_id, found.campaign_id
