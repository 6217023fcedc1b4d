-- oldest: the senders whose oldest message of one status, or of any (total), arrived first, in this order
-- The condition on queued_messages is always true. It locks messages before the statement gets its snapshot. Without
-- it, a TRUNCATE might commit in between: the snapshot would have counts, and the table no messages.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: oldest_in text, row_limit bigint
SELECT /* queries/top/oldest.sql */
  oldest.sender_id,
  found.hold,
  found.new,
  found.proc,
  found.retry,
  found.new + found.proc + found.retry + found.hold AS total,
  "{schema}".shown_time(oldest.hold) AS oldest_hold,
  "{schema}".shown_time(oldest.new) AS oldest_new,
  "{schema}".shown_time(oldest.proc) AS oldest_proc,
  "{schema}".shown_time(oldest.retry) AS oldest_retry
FROM
  "{schema}".oldest_senders(
    cast(:oldest_in AS text), cast(:row_limit AS bigint)
  ) WITH ORDINALITY AS oldest (sender_id, new, proc, retry, hold, position)
  CROSS JOIN
    LATERAL (
      SELECT
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold
      FROM (
        SELECT new, proc, retry, hold
        FROM "{schema}".current_counters(oldest.sender_id, 'total')
        WHERE account_id >= 0
        UNION ALL
        SELECT new, proc, retry, hold
        FROM "{schema}".pending_deltas(oldest.sender_id, NULL, NULL, NULL)
      ) AS part
    ) AS found
WHERE (SELECT are_readable FROM "{schema}".counted()) AND (SELECT are_known FROM "{schema}".arrivals())
  AND NOT EXISTS (SELECT FROM "{schema}".queued_messages LIMIT 0)
ORDER BY oldest.position
