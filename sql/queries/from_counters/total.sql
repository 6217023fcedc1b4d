-- total: the messages of a queue that match the filters, in one row, also for an empty queue
-- One query for each position of the arrays, from 1 on. The arrays are of one length.
-- A NULL filter matches every message.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[], account_id bigint[], campaign_id bigint[], isp text[]
SELECT /* queries/from_counters/total.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
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
    cast(:campaign_id AS bigint[]),
    cast(:isp AS text[])
  ) WITH ORDINALITY AS query (sender_id, account_id, campaign_id, isp, position)
  CROSS JOIN LATERAL (
    SELECT
      "{schema}".counter_sum(new) AS new,
      "{schema}".counter_sum(proc) AS proc,
      "{schema}".counter_sum(retry) AS retry,
      "{schema}".counter_sum(hold) AS hold
    FROM (
      SELECT new, proc, retry, hold
      FROM "{schema}".current_counters(
          query.sender_id,
          "{schema}".grouping_set_of(
            query.account_id IS NOT NULL, query.campaign_id IS NOT NULL, query.isp IS NOT NULL
          )
        )
      WHERE account_id >= 0
        AND account_id = coalesce(query.account_id, 0)
        AND campaign_id = coalesce(query.campaign_id, 0)
        AND isp = coalesce(query.isp, '')
      UNION ALL
      SELECT new, proc, retry, hold
      FROM "{schema}".pending_deltas(query.sender_id, query.account_id, query.campaign_id, query.isp)
    ) AS part
  ) AS found
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position
