-- defined_answers: the reports of queries/from_messages/ for some senders in every group mode, in one scan
-- A sender without messages has no row.
-- indexes: messages_by_arrival
-- parameters: sender_ids bigint[]
SELECT /* queries/defined_answers.sql */
  sender_id,
  CASE grouping(account_id, campaign_id, isp)
    WHEN 7 THEN 'total' WHEN 3 THEN 'account' WHEN 6 THEN 'isp' WHEN 1 THEN 'account_campaign'
  END AS grouping,
  coalesce(account_id, 0) AS account_id,
  coalesce(campaign_id, 0) AS campaign_id,
  count(*) FILTER (WHERE status = 'hold') AS hold,
  coalesce(isp, '') AS isp,
  count(*) FILTER (WHERE status = 'new') AS new,
  count(*) FILTER (WHERE status = 'proc') AS proc,
  count(*) FILTER (WHERE status = 'retry') AS retry,
  count(*) AS total
FROM queuestats.messages_of(cast(:sender_ids AS bigint[]))
GROUP BY sender_id, GROUPING SETS ((), (account_id), (isp), (account_id, campaign_id))
