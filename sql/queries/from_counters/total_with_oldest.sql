-- total_with_oldest: as total, with the arrival time of the oldest message of each status; NULL if there is none
-- One query for each position of the array, from 1 on. A look-up begins at the bound of its status, or at the oldest
-- pending arrival (counters/bounds.sql). There is no look-up for a status whose count is 0.
-- has_rates: whether to return what arrived and left, as total_with_rates does; otherwise these columns are NULL.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey, bounds_pkey, messages_by_arrival
-- places: schema
-- parameters: sender_id bigint[], has_rates boolean[]
SELECT /* queries/from_counters/total_with_oldest.sql */
  query.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  found.hold,
  '' AS isp,
  found.new,
  found.proc,
  found.retry,
  found.new + found.proc + found.retry + found.hold AS total,
  "{schema}".shown_time(first_hold.created_at) AS oldest_hold,
  "{schema}".shown_time(first_new.created_at) AS oldest_new,
  "{schema}".shown_time(first_proc.created_at) AS oldest_proc,
  "{schema}".shown_time(first_retry.created_at) AS oldest_retry,
  rates.arrived,
  rates.departed,
  rates.window_from,
  rates.window_to,
  rates.last_left
FROM
  unnest(cast(:sender_id AS bigint[]), cast(:has_rates AS boolean[]))
  WITH ORDINALITY AS query (sender_id, has_rates, position)
  CROSS JOIN
    LATERAL (
      SELECT
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold,
        min(oldest) FILTER (WHERE new > 0 OR came & 1 <> 0) AS new_since,
        min(oldest) FILTER (WHERE proc > 0 OR came & 2 <> 0) AS proc_since,
        min(oldest) FILTER (WHERE retry > 0 OR came & 4 <> 0) AS retry_since,
        min(oldest) FILTER (WHERE hold > 0 OR came & 8 <> 0) AS hold_since
      FROM (
        SELECT new, proc, retry, hold, NULL AS oldest, NULL AS came
        FROM "{schema}".current_counters(query.sender_id, 'total')
        WHERE account_id >= 0 AND account_id = 0 AND campaign_id = 0 AND isp = ''
        UNION ALL
        SELECT new, proc, retry, hold, oldest, came
        FROM "{schema}".pending_deltas(query.sender_id, NULL, NULL, NULL)
      ) AS part
    ) AS found
  CROSS JOIN LATERAL "{schema}".bound_of(query.sender_id) AS bound
  LEFT JOIN LATERAL "{schema}".oldest_message(
    query.sender_id, 'hold', CASE WHEN found.hold > 0 THEN least(bound.hold, found.hold_since) END
  ) AS first_hold ON true
  LEFT JOIN LATERAL "{schema}".oldest_message(
    query.sender_id, 'new', CASE WHEN found.new > 0 THEN least(bound.new, found.new_since) END
  ) AS first_new ON true
  LEFT JOIN LATERAL "{schema}".oldest_message(
    query.sender_id, 'proc', CASE WHEN found.proc > 0 THEN least(bound.proc, found.proc_since) END
  ) AS first_proc ON true
  LEFT JOIN LATERAL "{schema}".oldest_message(
    query.sender_id, 'retry', CASE WHEN found.retry > 0 THEN least(bound.retry, found.retry_since) END
  ) AS first_retry ON true
  LEFT JOIN LATERAL "{schema}".rates_of(
    CASE WHEN query.has_rates THEN query.sender_id END, true, ARRAY['']
  ) AS rates ON true
WHERE (SELECT are_readable FROM "{schema}".counted()) AND (SELECT are_known FROM "{schema}".arrivals())
ORDER BY query.position
