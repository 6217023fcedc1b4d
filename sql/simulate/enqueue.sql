-- enqueue: inserts a burst of new messages of one sender, one message for each recipient
-- The messages belong to an existing account of the sender, if there is one.
-- parameters: sender_id bigint, campaign_id bigint, isps text[], recipients text[]
INSERT /* simulate/enqueue.sql */ INTO messages (sender_id, account_id, campaign_id, isp, recipient)
SELECT cast(:sender_id AS bigint), account.account_id, cast(:campaign_id AS bigint), burst.isp, burst.recipient
FROM
  (
    SELECT coalesce(
      (SELECT account_id FROM messages WHERE sender_id = cast(:sender_id AS bigint) LIMIT 1),
      cast(:sender_id AS bigint)
    ) AS account_id
  ) AS account,
  unnest(cast(:isps AS text[]), cast(:recipients AS text[])) AS burst (isp, recipient)
