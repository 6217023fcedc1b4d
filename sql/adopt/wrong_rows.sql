-- wrong_rows: queued rows without a sender, or with a status other than the four, by status; at most five rows
-- `sender_number` or `sender_text` is NULL. No function of the service is used: they do not exist yet.
-- places: own_status, sender_number, sender_text, messages, condition
-- parameters: none
SELECT /* adopt/wrong_rows.sql */
  status,
  count(*) AS rows,
  count(*) FILTER (WHERE is_without_sender) AS without_sender
FROM (
  SELECT
    cast("{own_status}" AS text) COLLATE "C" AS status,
    coalesce(cast("{sender_number}" AS bigint), 0) <= 0 AND cast("{sender_text}" AS text) IS NULL AS is_without_sender
  FROM "{messages}"
  WHERE "{condition}"
) AS mapped
WHERE is_without_sender OR status IS NULL OR status NOT IN ('new', 'proc', 'retry', 'hold')
GROUP BY status
ORDER BY 2 DESC
LIMIT 5
