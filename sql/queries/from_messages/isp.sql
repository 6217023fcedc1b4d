-- isp: the messages of a sender by ISP and status, one row for each ISP with messages
-- A NULL filter matches every message.
-- indexes: messages_by_arrival
-- places: queued_messages
-- parameters: sender_id bigint, account_id bigint, campaign_id bigint, isp text
SELECT /* queries/from_messages/isp.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  count(*) FILTER (WHERE status = 'hold') AS hold,
  isp,
  count(*) FILTER (WHERE status = 'new') AS new,
  count(*) FILTER (WHERE status = 'proc') AS proc,
  count(*) FILTER (WHERE status = 'retry') AS retry,
  count(*) AS total
FROM "{queued_messages}"
WHERE sender_id = cast(:sender_id AS bigint)
  AND (cast(:account_id AS bigint) IS NULL OR account_id = cast(:account_id AS bigint))
  AND (cast(:campaign_id AS bigint) IS NULL OR campaign_id = cast(:campaign_id AS bigint))
  AND (cast(:isp AS text) IS NULL OR isp = cast(:isp AS text))
GROUP BY isp
ORDER BY isp
