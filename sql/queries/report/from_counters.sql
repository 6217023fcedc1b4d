-- from_counters: the counts of many senders by the requested keys, in order, from one snapshot
-- The first two columns have values even if the report has no row. number: the number of rows of all pages, if
-- has_count. cut: the first sender that may lack rows, because read_limit limits the look-ups (one for each sender and
-- slice) and the counters that are read, in ascending order of the senders.
-- The senders are those of sender_ids, and all with an id from first_ids to last_ids; with search, only those whose id
-- or name begins with this text. Most senders have only counters of epoch 0, which one descent of an index finds.
-- is_wide: the pending deltas of all senders are read once, to find the other senders; otherwise the deltas of each
-- sender are looked up.
-- A slice is one descent of counters_by_account or, with an ISP, of counters_by_isp. Its bounds are a prefix of the
-- index, and only the last one is a range, so that every row that is read belongs to the report. A key outside the
-- grouping set is 0 or '' in the counters. The pending deltas of a sender are read with its first slice. A filter that
-- is NULL matches all messages.
-- sort_by: key, total, new, proc, retry or hold. after_rank: the sort value of the last row of the previous page; NULL
-- for the first page.
-- indexes: counters_by_account, counters_by_isp, deltas_sender_id_xid, watermarks_pkey, sender_totals_pkey, deltas_xid
-- places: schema
-- parameters: sender_ids bigint[], first_ids bigint[], last_ids bigint[], is_wide boolean, search text, grouping_set text, by_sender boolean, by_account boolean, by_campaign boolean, by_isp boolean, first_accounts bigint[], last_accounts bigint[], first_campaigns bigint[], last_campaigns bigint[], slice_isps text[], account_ids bigint[], campaign_ids bigint[], isps text[], status text, sort_by text, has_count boolean, after_rank bigint, after_sender bigint, after_account bigint, after_campaign bigint, after_isp text, read_limit bigint, row_limit bigint
WITH /* queries/report/from_counters.sql */ changing AS MATERIALIZED (
  SELECT sender_id
  FROM "{schema}".changing_senders(cast(cast(:grouping_set AS text) AS "{schema}".grouping_set))
),

candidate AS MATERIALIZED (
  SELECT
    sender.sender_id, slice.first_account, slice.last_account, slice.first_campaign, slice.last_campaign, slice.isp,
    slice.number = 1 AS is_first,
    (SELECT cast(cast(:grouping_set AS text) AS "{schema}".grouping_set)) AS grouping_set,
    NOT cast(:is_wide AS boolean) OR sender.sender_id IN (SELECT sender_id FROM changing) AS is_changing
  FROM (
    SELECT unnest(cast(:sender_ids AS bigint[])) AS sender_id
    UNION ALL
    (
      SELECT kept.sender_id
      FROM unnest(cast(:first_ids AS bigint[]), cast(:last_ids AS bigint[])) AS range (first_id, last_id)
        CROSS JOIN LATERAL (
          SELECT sender_id FROM "{schema}".sender_totals
          WHERE sender_id BETWEEN range.first_id AND range.last_id
          ORDER BY sender_id
          LIMIT cast(:read_limit AS bigint) / cardinality(cast(:first_accounts AS bigint[])) + 1
        ) AS kept
      UNION
      SELECT changing.sender_id
      FROM changing
        INNER JOIN unnest(cast(:first_ids AS bigint[]), cast(:last_ids AS bigint[])) AS range (first_id, last_id)
          ON changing.sender_id BETWEEN range.first_id AND range.last_id
      WHERE cast(:first_ids AS bigint[]) <> '{}'
    )
  ) AS sender
    CROSS JOIN
      unnest(
        cast(:first_accounts AS bigint[]), cast(:last_accounts AS bigint[]),
        cast(:first_campaigns AS bigint[]), cast(:last_campaigns AS bigint[]), cast(:slice_isps AS text[])
      ) WITH ORDINALITY AS slice (first_account, last_account, first_campaign, last_campaign, isp, number)
  ORDER BY sender.sender_id
  LIMIT cast(:read_limit AS bigint)
),

read AS MATERIALIZED (
  SELECT
    candidate.sender_id, part.account_id, part.campaign_id, part.isp, part.new, part.proc, part.retry, part.hold
  FROM (
    -- PostgreSQL 16 and older do not use the order of a CTE, and would read and sort all its rows before LIMIT.
    SELECT * FROM candidate ORDER BY sender_id
  ) AS candidate
    CROSS JOIN LATERAL (
      SELECT account_id, campaign_id, isp, new, proc, retry, hold
      FROM "{schema}".counters
      WHERE NOT candidate.is_changing AND candidate.isp IS NULL
        AND sender_id = candidate.sender_id
        AND grouping_set = candidate.grouping_set
        AND epoch = 0
        AND account_id >= 0
        AND account_id BETWEEN candidate.first_account AND candidate.last_account
        AND campaign_id BETWEEN candidate.first_campaign AND candidate.last_campaign
      UNION ALL
      SELECT account_id, campaign_id, isp, new, proc, retry, hold
      FROM "{schema}".counters
      WHERE NOT candidate.is_changing AND candidate.isp IS NOT NULL
        AND sender_id = candidate.sender_id
        AND grouping_set = candidate.grouping_set
        AND epoch = 0
        AND isp >= ''
        AND isp = candidate.isp
        AND campaign_id BETWEEN candidate.first_campaign AND candidate.last_campaign
        AND account_id BETWEEN candidate.first_account AND candidate.last_account
      UNION ALL
      SELECT changed.*
      FROM (SELECT WHERE candidate.is_changing OFFSET 0) AS once
        CROSS JOIN LATERAL (
          SELECT account_id, campaign_id, isp, new, proc, retry, hold
          FROM "{schema}".current_counters(candidate.sender_id, candidate.grouping_set)
          WHERE candidate.isp IS NULL
            AND account_id >= 0
            AND account_id BETWEEN candidate.first_account AND candidate.last_account
            AND campaign_id BETWEEN candidate.first_campaign AND candidate.last_campaign
          UNION ALL
          SELECT account_id, campaign_id, isp, new, proc, retry, hold
          FROM "{schema}".current_counters(candidate.sender_id, candidate.grouping_set)
          WHERE candidate.isp IS NOT NULL
            AND isp >= ''
            AND isp = candidate.isp
            AND campaign_id BETWEEN candidate.first_campaign AND candidate.last_campaign
            AND account_id BETWEEN candidate.first_account AND candidate.last_account
          UNION ALL
          SELECT account_id, campaign_id, isp, new, proc, retry, hold
          FROM "{schema}".pending_deltas(candidate.sender_id, NULL, NULL, NULL)
          WHERE candidate.is_first
            AND (cast(:account_ids AS bigint[]) IS NULL OR account_id = ANY(cast(:account_ids AS bigint[])))
            AND (cast(:campaign_ids AS bigint[]) IS NULL OR campaign_id = ANY(cast(:campaign_ids AS bigint[])))
            AND (cast(:isps AS text[]) IS NULL OR isp = ANY(cast(:isps AS text[])))
        ) AS changed
    ) AS part
  WHERE cast(:search AS text) IS NULL
    OR starts_with(cast(candidate.sender_id AS text), cast(:search AS text))
    OR (SELECT starts_with(value, cast(:search AS text)) FROM "{schema}".keys WHERE id = candidate.sender_id)
  ORDER BY candidate.sender_id
  LIMIT cast(:read_limit AS bigint)
),

ranked AS NOT MATERIALIZED (
  SELECT
    *, CASE cast(:sort_by AS text)
      WHEN 'key' THEN 0 WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold
      ELSE total
    END AS rank
  FROM (
    SELECT *, new + proc + retry + hold AS total
    FROM (
      SELECT
        CASE WHEN cast(:by_sender AS boolean) THEN sender_id ELSE 0 END AS sender_id,
        CASE WHEN cast(:by_account AS boolean) THEN account_id ELSE 0 END AS account_id,
        CASE WHEN cast(:by_campaign AS boolean) THEN campaign_id ELSE 0 END AS campaign_id,
        CASE WHEN cast(:by_isp AS boolean) THEN isp ELSE '' END AS isp,
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold
      FROM read
      -- After LIMIT, so that rows that are read and do not match count as well.
      WHERE (cast(:account_ids AS bigint[]) IS NULL OR account_id = ANY(cast(:account_ids AS bigint[])))
        AND (cast(:campaign_ids AS bigint[]) IS NULL OR campaign_id = ANY(cast(:campaign_ids AS bigint[])))
        AND (cast(:isps AS text[]) IS NULL OR isp = ANY(cast(:isps AS text[])))
      GROUP BY 1, 2, 3, 4
    ) AS summed
  ) AS counted
  WHERE CASE cast(:status AS text)
      WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry WHEN 'hold' THEN hold ELSE total
    END <> 0
)

SELECT
  size.number, size.cut,
  page.sender_id, page.account_id, page.campaign_id, page.isp,
  page.hold, page.new, page.proc, page.retry, page.total
FROM (
  SELECT
    CASE WHEN cast(:has_count AS boolean) THEN (SELECT count(*) FROM ranked) END AS number,
    least(
      (SELECT sender_id FROM read LIMIT 1 OFFSET cast(:read_limit AS bigint) - 1),
      (SELECT sender_id FROM candidate LIMIT 1 OFFSET cast(:read_limit AS bigint) - 1)
    ) AS cut
  WHERE (SELECT are_readable FROM "{schema}".counted())
) AS size
  LEFT JOIN ranked AS page
    ON cast(:after_rank AS bigint) IS NULL
      OR (-page.rank, page.sender_id, page.account_id, page.campaign_id, page.isp) > (
        -cast(:after_rank AS bigint), cast(:after_sender AS bigint), cast(:after_account AS bigint),
        cast(:after_campaign AS bigint), cast(:after_isp AS text)
      )
ORDER BY -page.rank, page.sender_id, page.account_id, page.campaign_id, page.isp
LIMIT cast(:row_limit AS bigint)
