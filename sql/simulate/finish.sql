-- finish: deletes messages that are delivered or have failed permanently
-- parameters: sender_id bigint, ids bigint[]
DELETE /* simulate/finish.sql */ FROM messages
WHERE sender_id = cast(:sender_id AS bigint)
  AND id = ANY(cast(:ids AS bigint[]))
  AND status = 'proc'
RETURNING id
