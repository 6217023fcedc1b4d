-- sample: copies every n-th message of one sender to another sender
-- The result is a shorter queue with the same rows in its reports. One message of `step` is copied; `sender_id` must
-- have no messages.
-- parameters: from_sender_id bigint, sender_id bigint, step bigint
INSERT /* bench/sample.sql */ INTO messages
(sender_id, account_id, campaign_id, isp, status, attempts, recipient, created_at, next_attempt_at)
SELECT
  cast(:sender_id AS bigint), account_id, campaign_id, isp, status, attempts, recipient, created_at, next_attempt_at
FROM messages
WHERE sender_id = cast(:from_sender_id AS bigint) AND id % cast(:step AS bigint) = 0
ORDER BY id
