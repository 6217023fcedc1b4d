-- drift: a few senders, taken by chance, whose counts differ from a recount of their messages
-- A look, not a proof: ten senders of at most 100,000 messages that have counters are recounted, and some that have
-- messages must have counts. verify recounts everything.
-- parameters: none
SELECT /* doctor/drift.sql */
  'error' AS severity,
  found.finding,
  'Run queuestats verify --repair, and look for writes that bypass the triggers.' AS advice
FROM (
  SELECT
    sample.sender_id,
    format('%s counts of sender %s differ from a recount of its messages', audited.differences, sample.sender_id)
      AS finding
  FROM (
    SELECT sender_id
    FROM queuestats.counters
    WHERE grouping_set = 'total' AND epoch = 0 AND new + proc + retry + hold <= 100000
    ORDER BY random()
    LIMIT 10
  ) AS sample
    CROSS JOIN LATERAL (
      SELECT count(*) AS differences
      FROM queuestats.audit(sample.sender_id)
    ) AS audited
  WHERE audited.differences > 0
  UNION ALL
  SELECT sample.sender_id, format('sender %s has messages, and nothing is counted for it', sample.sender_id)
  FROM (
    SELECT sender_id
    FROM (
      SELECT sender_id
      FROM queuestats.queued_messages
      WHERE address = ANY(ARRAY(
          SELECT cast(format('(%s,%s)', trunc(random() * pages), 1 + trunc(random() * 20)) AS tid)
          FROM generate_series(1, 1000)
            CROSS JOIN (
              SELECT max(pg_relation_size(relid)) / current_setting('block_size')::bigint AS pages
              FROM pg_partition_tree(queuestats.messages_table())
            ) AS size
        ))
      UNION ALL
      (SELECT sender_id FROM queuestats.queued_messages LIMIT 1000)
    ) AS picked
    GROUP BY sender_id
  ) AS sample
  WHERE NOT EXISTS (
      SELECT FROM queuestats.current_counters(sample.sender_id, 'total')
      UNION ALL
      SELECT FROM queuestats.pending_deltas(sample.sender_id, NULL, NULL, NULL)
    )
) AS found
ORDER BY found.sender_id
LIMIT 10
