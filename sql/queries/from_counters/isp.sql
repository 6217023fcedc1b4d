-- isp: a queue by ISP, in the order of the names' bytes
-- One query for each position of the arrays, from 1 on. The arrays are of one length.
-- A NULL filter matches every message.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[], account_id bigint[], campaign_id bigint[]
SELECT /* queries/from_counters/isp.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  found.hold,
  found.isp,
  found.new,
  found.proc,
  found.retry,
  found.new + found.proc + found.retry + found.hold AS total
FROM
  unnest(
    cast(:sender_id AS bigint[]),
    cast(:account_id AS bigint[]),
    cast(:campaign_id AS bigint[])
  ) WITH ORDINALITY AS query (sender_id, account_id, campaign_id, position)
  CROSS JOIN LATERAL (
    SELECT
      isp,
      "{schema}".counter_sum(new) AS new,
      "{schema}".counter_sum(proc) AS proc,
      "{schema}".counter_sum(retry) AS retry,
      "{schema}".counter_sum(hold) AS hold
    FROM (
      SELECT isp, new, proc, retry, hold
      FROM "{schema}".current_counters(
          query.sender_id, "{schema}".grouping_set_of(query.account_id IS NOT NULL, query.campaign_id IS NOT NULL, true)
        )
      WHERE account_id >= 0
        AND account_id = coalesce(query.account_id, 0)
        AND campaign_id = coalesce(query.campaign_id, 0)
      UNION ALL
      SELECT isp, new, proc, retry, hold
      FROM "{schema}".pending_deltas(query.sender_id, query.account_id, query.campaign_id, NULL)
      ORDER BY isp
    ) AS part
    GROUP BY isp
    HAVING "{schema}".counter_sum(new + proc + retry + hold) <> 0
  ) AS found
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position, found.isp
