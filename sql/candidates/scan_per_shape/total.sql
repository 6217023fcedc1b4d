-- total: as queries/from_messages/total.sql of one account, in a statement of its own, where no filter may be left out
-- indexes: messages_sender_id_status
-- parameters: sender_id bigint, account_id bigint
SELECT /* candidates/scan_per_shape/total.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  count(*) FILTER (WHERE status = 'hold') AS hold,
  '' AS isp,
  count(*) FILTER (WHERE status = 'new') AS new,
  count(*) FILTER (WHERE status = 'proc') AS proc,
  count(*) FILTER (WHERE status = 'retry') AS retry,
  count(*) AS total
FROM messages
WHERE sender_id = cast(:sender_id AS bigint)
  AND account_id = cast(:account_id AS bigint)
