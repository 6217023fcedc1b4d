-- senders: the senders with the most messages of one status or in total, the largest first
-- Senders that are changing, which have pending deltas or counters in their current epoch, are summed in the query: one
-- look-up for each sender. Folds keep their number small. All others are in sender_totals, which has an index in this
-- order.
-- largest_by: total, new, proc, retry or hold. Only the branch of that order is run.
-- indexes: sender_totals_by_total, counters_by_account, deltas_xid, deltas_sender_id_xid
-- places: schema
-- parameters: largest_by text, row_limit bigint
WITH /* queries/top/senders.sql */ changing AS MATERIALIZED (
  SELECT sender_id FROM "{schema}".changing_senders('total')
),

kept AS NOT MATERIALIZED (
  SELECT sender_id, hold, new, proc, retry, total
  FROM "{schema}".sender_totals
  WHERE NOT EXISTS (SELECT FROM changing WHERE changing.sender_id = sender_totals.sender_id)
)

SELECT sender_id, hold, new, proc, retry, total
FROM (
  SELECT
    *, CASE cast(:largest_by AS text)
      WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold ELSE total
    END AS rank
  FROM (
    SELECT sender_id, hold, new, proc, retry, new + proc + retry + hold AS total
    FROM changing
      CROSS JOIN LATERAL (
        SELECT
          "{schema}".counter_sum(new) AS new,
          "{schema}".counter_sum(proc) AS proc,
          "{schema}".counter_sum(retry) AS retry,
          "{schema}".counter_sum(hold) AS hold
        FROM (
          SELECT new, proc, retry, hold
          FROM "{schema}".current_counters(changing.sender_id, 'total')
          WHERE account_id >= 0
          UNION ALL
          SELECT new, proc, retry, hold
          FROM "{schema}".pending_deltas(changing.sender_id, NULL, NULL, NULL)
        ) AS part
      ) AS summed
    UNION ALL
    (
      SELECT * FROM kept
      WHERE cast(:largest_by AS text) = 'total' AND total > 0
      ORDER BY total DESC, sender_id
      LIMIT cast(:row_limit AS bigint)
    )
    UNION ALL
    (
      SELECT * FROM kept
      WHERE cast(:largest_by AS text) = 'new' AND new > 0
      ORDER BY new DESC, sender_id
      LIMIT cast(:row_limit AS bigint)
    )
    UNION ALL
    (
      SELECT * FROM kept
      WHERE cast(:largest_by AS text) = 'proc' AND proc > 0
      ORDER BY proc DESC, sender_id
      LIMIT cast(:row_limit AS bigint)
    )
    UNION ALL
    (
      SELECT * FROM kept
      WHERE cast(:largest_by AS text) = 'retry' AND retry > 0
      ORDER BY retry DESC, sender_id
      LIMIT cast(:row_limit AS bigint)
    )
    UNION ALL
    (
      SELECT * FROM kept
      WHERE cast(:largest_by AS text) = 'hold' AND hold > 0
      ORDER BY hold DESC, sender_id
      LIMIT cast(:row_limit AS bigint)
    )
  ) AS candidate
) AS ranked
WHERE rank > 0 AND (SELECT are_readable FROM "{schema}".counted())
ORDER BY rank DESC, sender_id
LIMIT cast(:row_limit AS bigint)
