-- isp_with_rates: as isp, with the numbers of messages that arrived and left in the last five full minutes
-- One query for each position of the array, from 1 on. Values that are not known are NULL (counters/recorded.sql).
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint[]
SELECT /* queries/from_counters/isp_with_rates.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  answer.hold,
  answer.isp,
  answer.new,
  answer.proc,
  answer.retry,
  answer.new + answer.proc + answer.retry + answer.hold AS total,
  answer.arrived,
  answer.departed,
  answer.window_from,
  answer.window_to,
  answer.last_left
FROM
  unnest(cast(:sender_id AS bigint[])) WITH ORDINALITY AS query (sender_id, position)
  CROSS JOIN
    LATERAL (
      WITH found AS MATERIALIZED (
        SELECT
          isp,
          "{schema}".counter_sum(new) AS new,
          "{schema}".counter_sum(proc) AS proc,
          "{schema}".counter_sum(retry) AS retry,
          "{schema}".counter_sum(hold) AS hold
        FROM (
          SELECT isp, new, proc, retry, hold
          FROM "{schema}".current_counters(query.sender_id, 'isp')
          WHERE account_id >= 0 AND account_id = 0 AND campaign_id = 0
          UNION ALL
          SELECT isp, new, proc, retry, hold
          FROM "{schema}".pending_deltas(query.sender_id, NULL, NULL, NULL)
          ORDER BY isp
        ) AS part
        GROUP BY isp
        HAVING "{schema}".counter_sum(new + proc + retry + hold) <> 0
      )

      SELECT found.*, rates.arrived, rates.departed, rates.window_from, rates.window_to, rates.last_left
      FROM found
        INNER JOIN "{schema}".rates_of(query.sender_id, false, ARRAY(SELECT isp FROM found)) AS rates
          ON rates.isp = found.isp
    ) AS answer
WHERE (SELECT are_readable FROM "{schema}".counted())
ORDER BY query.position, answer.isp
