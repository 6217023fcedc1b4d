-- negative: counts below zero, which only drift can leave
-- It adds up what the service would answer, for every grouping set. One epoch or delta
-- may be below zero; the sum may not.
-- parameters: none
SELECT /* doctor/negative.sql */
  'error' AS severity,
  format('sender %s has a count below zero', kept.sender_id) AS finding,
  format('Run queuestats verify --sender %s --repair, and look for writes that bypass the triggers.', kept.sender_id)
    AS advice
FROM (
  SELECT sender_id, sum(new) AS new, sum(proc) AS proc, sum(retry) AS retry, sum(hold) AS hold
  FROM (
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
    FROM queuestats.counters
    UNION ALL
    SELECT sender_id, grouping_set, account_id, campaign_id, isp, new, proc, retry, hold
    FROM queuestats.deltas_by_grouping_set(NULL, is_from_watermark => false)
  ) AS part
  GROUP BY sender_id, grouping_set, account_id, campaign_id, isp
) AS kept
WHERE kept.new < 0 OR kept.proc < 0 OR kept.retry < 0 OR kept.hold < 0
GROUP BY kept.sender_id
ORDER BY kept.sender_id
LIMIT 10
