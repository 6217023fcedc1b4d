-- retry: changes messages whose attempt failed to `retry`, with the time of the next attempt
-- parameters: sender_id bigint, ids bigint[], delay_seconds double precision
UPDATE /* simulate/retry.sql */ messages
SET status = 'retry', next_attempt_at = now() + make_interval(secs => cast(:delay_seconds AS double precision))
WHERE sender_id = cast(:sender_id AS bigint)
  AND id = ANY(cast(:ids AS bigint[]))
  AND status = 'proc'
RETURNING id
