-- total: as queries/from_messages/total.sql, with GROUP BY status in place of a FILTER for each status
-- parameters: sender_id bigint
SELECT /* candidates/group_by_status/total.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  coalesce(max(messages) FILTER (WHERE status = 'hold'), 0) AS hold,
  '' AS isp,
  coalesce(max(messages) FILTER (WHERE status = 'new'), 0) AS new,
  coalesce(max(messages) FILTER (WHERE status = 'proc'), 0) AS proc,
  coalesce(max(messages) FILTER (WHERE status = 'retry'), 0) AS retry,
  cast(coalesce(sum(messages), 0) AS bigint) AS total
FROM (
  SELECT status, count(*) AS messages
  FROM messages
  WHERE sender_id = cast(:sender_id AS bigint)
  GROUP BY status
) AS counted
