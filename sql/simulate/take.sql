-- take: changes due messages of one sender and status to `proc`; skips messages that another session has locked
-- parameters: sender_id bigint, status message_status, batch_messages bigint
UPDATE /* simulate/take.sql */ messages
SET status = 'proc', attempts = attempts + 1
WHERE sender_id = cast(:sender_id AS bigint)
  AND id = ANY(ARRAY(
    SELECT id
    FROM messages
    WHERE sender_id = cast(:sender_id AS bigint)
      AND status = cast(:status AS message_status)
      AND next_attempt_at <= now()
    LIMIT cast(:batch_messages AS bigint)
    FOR UPDATE SKIP LOCKED
  ))
RETURNING id
