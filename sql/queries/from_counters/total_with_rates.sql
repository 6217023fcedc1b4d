-- total_with_rates: as total, with the numbers of messages that arrived and left in the last five full minutes
-- One query for each position of the array, from 1 on. Values that are not known are NULL (counters/recorded.sql).
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[]
SELECT /* queries/from_counters/total_with_rates.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  found.hold,
  '' AS isp,
  found.new,
  found.proc,
  found.retry,
  found.new + found.proc + found.retry + found.hold AS total,
  rates.arrived,
  rates.departed,
  rates.window_from,
  rates.window_to,
  rates.last_left
FROM
  unnest(cast(:sender_id AS bigint[])) WITH ORDINALITY AS query (sender_id, position)
  CROSS JOIN
    LATERAL (
      SELECT
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold
      FROM (
        SELECT new, proc, retry, hold
        FROM "{schema}".current_counters(query.sender_id, 'total')
        WHERE account_id >= 0 AND account_id = 0 AND campaign_id = 0 AND isp = ''
        UNION ALL
        SELECT new, proc, retry, hold
        FROM "{schema}".pending_deltas(query.sender_id, NULL, NULL, NULL)
      ) AS part
    ) AS found
  CROSS JOIN LATERAL "{schema}".rates_of(query.sender_id, true, ARRAY['']) AS rates
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position
