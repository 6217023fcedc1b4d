-- total_with_oldest: the messages of a sender by status, and the arrival time of the oldest message of each status
-- indexes: messages_by_arrival
-- places: queued_messages, schema
-- parameters: sender_id bigint
SELECT /* queries/from_messages/total_with_oldest.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  count(*) FILTER (WHERE status = 'hold') AS hold,
  '' AS isp,
  count(*) FILTER (WHERE status = 'new') AS new,
  count(*) FILTER (WHERE status = 'proc') AS proc,
  count(*) FILTER (WHERE status = 'retry') AS retry,
  count(*) AS total,
  "{schema}".shown_time(min(created_at) FILTER (WHERE status = 'hold')) AS oldest_hold,
  "{schema}".shown_time(min(created_at) FILTER (WHERE status = 'new')) AS oldest_new,
  "{schema}".shown_time(min(created_at) FILTER (WHERE status = 'proc')) AS oldest_proc,
  "{schema}".shown_time(min(created_at) FILTER (WHERE status = 'retry')) AS oldest_retry
FROM "{queued_messages}"
WHERE sender_id = cast(:sender_id AS bigint) AND (SELECT are_known FROM "{schema}".arrivals())
