-- from_messages: the counts of many senders by the requested keys, in order: the definition of the report
-- A key that is not requested is 0 or ''. A filter that is NULL matches all messages.
-- sort_by: key, total, new, proc, retry or hold; all but key descending
-- places: schema
-- parameters: sender_ids bigint[], by_sender boolean, by_account boolean, by_campaign boolean, by_isp boolean, account_ids bigint[], campaign_ids bigint[], isps text[], status text, sort_by text
SELECT /* queries/report/from_messages.sql */ sender_id, account_id, campaign_id, isp, hold, new, proc, retry, total
FROM (
  SELECT
    CASE WHEN cast(:by_sender AS boolean) THEN sender_id ELSE 0 END AS sender_id,
    CASE WHEN cast(:by_account AS boolean) THEN account_id ELSE 0 END AS account_id,
    CASE WHEN cast(:by_campaign AS boolean) THEN campaign_id ELSE 0 END AS campaign_id,
    CASE WHEN cast(:by_isp AS boolean) THEN isp ELSE '' END AS isp,
    count(*) FILTER (WHERE status = 'hold') AS hold,
    count(*) FILTER (WHERE status = 'new') AS new,
    count(*) FILTER (WHERE status = 'proc') AS proc,
    count(*) FILTER (WHERE status = 'retry') AS retry,
    count(*) AS total
  FROM "{schema}".queued_messages
  WHERE (cast(:sender_ids AS bigint[]) IS NULL OR sender_id = ANY(cast(:sender_ids AS bigint[])))
    AND (cast(:account_ids AS bigint[]) IS NULL OR account_id = ANY(cast(:account_ids AS bigint[])))
    AND (cast(:campaign_ids AS bigint[]) IS NULL OR campaign_id = ANY(cast(:campaign_ids AS bigint[])))
    AND (cast(:isps AS text[]) IS NULL OR isp = ANY(cast(:isps AS text[])))
  GROUP BY 1, 2, 3, 4
) AS counted
WHERE CASE cast(:status AS text)
    WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold ELSE total
  END > 0
ORDER BY
  CASE cast(:sort_by AS text)
    WHEN 'key' THEN 0 WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold
    ELSE total
  END DESC,
  sender_id, account_id, campaign_id, isp
