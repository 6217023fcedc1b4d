-- thin: gives a sender every so many of another one's messages, in their order
-- A shorter queue with the same answer rows. `step` is how many messages of the one become one of the other;
-- `sender_id` must have none yet.
-- parameters: from_sender_id bigint, sender_id bigint, step bigint
INSERT /* bench/thin.sql */ INTO messages
(sender_id, account_id, campaign_id, isp, status, attempts, recipient, created_at, next_attempt_at)
SELECT
  cast(:sender_id AS bigint), account_id, campaign_id, isp, status, attempts, recipient, created_at, next_attempt_at
FROM messages
WHERE sender_id = cast(:from_sender_id AS bigint) AND id % cast(:step AS bigint) = 0
ORDER BY id
