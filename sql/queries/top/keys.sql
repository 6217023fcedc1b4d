-- keys: the accounts, campaigns or ISPs of one sender with the most messages of one status or in total
-- The largest come first. The time depends on the number of the sender's accounts, campaigns or ISPs.
-- largest_by: total, new, proc, retry or hold; grouping_set: account, campaign or isp
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- places: schema
-- parameters: sender_id bigint, grouping_set text, largest_by text, row_limit bigint
SELECT /* queries/top/keys.sql */ account_id, campaign_id, hold, isp, new, proc, retry, total
FROM (
  SELECT
    *, CASE cast(:largest_by AS text)
      WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold ELSE total
    END AS rank
  FROM (
    SELECT account_id, campaign_id, isp, hold, new, proc, retry, new + proc + retry + hold AS total
    FROM (
      SELECT
        account_id, campaign_id, isp,
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold
      FROM (
        SELECT account_id, campaign_id, isp, new, proc, retry, hold
        FROM "{schema}".current_counters(
            cast(:sender_id AS bigint), cast(cast(:grouping_set AS text) AS "{schema}".grouping_set)
          )
        WHERE account_id >= 0
        UNION ALL
        SELECT
          CASE WHEN cast(:grouping_set AS text) = 'account' THEN account_id ELSE 0 END,
          CASE WHEN cast(:grouping_set AS text) = 'campaign' THEN campaign_id ELSE 0 END,
          CASE WHEN cast(:grouping_set AS text) = 'isp' THEN isp ELSE '' END,
          new, proc, retry, hold
        FROM "{schema}".pending_deltas(cast(:sender_id AS bigint), NULL, NULL, NULL)
      ) AS part
      GROUP BY account_id, campaign_id, isp
    ) AS summed
  ) AS counted
) AS ranked
WHERE rank > 0 AND (SELECT are_readable FROM "{schema}".counted())
ORDER BY rank DESC, account_id, campaign_id, isp
LIMIT cast(:row_limit AS bigint)
