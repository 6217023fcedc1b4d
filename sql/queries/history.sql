-- history: the counts of a sender at the end of each step, and how many messages arrived and left within the step
-- isp NULL: all ISPs. until NULL: now. The last row is the current step. The counts of an earlier step are the current
-- counts less the changes since then. A step that folds did not cover has no row, except the current step: in its row,
-- arrived and departed are then NULL.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey, history_changes_step_until_sender_id
-- places: schema
-- parameters: sender_id bigint, isp text, is_by_isp boolean, step integer, since timestamptz, until timestamptz
WITH /* queries/history.sql */ asked AS MATERIALIZED (
  SELECT
    step,
    "{schema}".start_of(step, "{schema}".latest_change()) + step AS current_at,
    "{schema}".start_of(step, greatest(since, kept_since, first_span, last_begin)) AS since,
    coalesce(cast(:until AS timestamptz), 'infinity') AS until,
    coalesce(asked_span, '-infinity') AS asked_span,
    greatest(kept_since, first_span, last_begin) AS known_since,
    "{schema}".is_covered(
      cast(:sender_id AS bigint), "{schema}".start_of(step, "{schema}".latest_change()), "{schema}".history_clock()
    ) AS is_known,
    NOT cast(:is_by_isp AS boolean) AND cast(:isp AS text) IS NULL AS is_total
  FROM (
    SELECT
      "{schema}".seconds(cast(:step AS integer)) AS step,
      cast(:since AS timestamptz) AS since,
      (
        SELECT steps.kept_since
        FROM "{schema}".history_steps AS steps
        WHERE steps.step = cast(:step AS integer)
      ) AS kept_since,
      (SELECT min(span.since) FROM "{schema}".history_spans AS span) AS first_span,
      (
        SELECT max(span.since)
        FROM "{schema}".history_spans AS span
        WHERE span.since <= cast(:since AS timestamptz)
      ) AS asked_span,
      greatest(
        (
          SELECT max(begins.at)
          FROM "{schema}".history_begins AS begins
          WHERE begins.sender_id IN (0, cast(:sender_id AS bigint))
        ), "{schema}".here_since(cast(:sender_id AS bigint))
      ) AS last_begin
  ) AS given
),

part AS MATERIALIZED (
  SELECT isp, new, proc, retry, hold, 0 AS arrived, false AS is_change
  FROM "{schema}".current_counters(cast(:sender_id AS bigint), 'total')
  WHERE account_id >= 0 AND account_id = 0 AND campaign_id = 0 AND isp = '' AND (SELECT is_total FROM asked)
  UNION ALL
  SELECT isp, new, proc, retry, hold, 0, false
  FROM "{schema}".current_counters(cast(:sender_id AS bigint), 'isp')
  WHERE account_id >= 0 AND account_id = 0 AND campaign_id = 0 AND NOT (SELECT is_total FROM asked)
    AND (cast(:isp AS text) IS NULL OR isp = cast(:isp AS text))
  UNION ALL
  SELECT
    CASE WHEN (SELECT is_total FROM asked) THEN '' ELSE isp END,
    new,
    proc,
    retry,
    hold,
    greatest(
      coalesce(CASE WHEN (SELECT is_total FROM asked) THEN net END, new + proc + retry + hold), 0
    ),
    -- A correction is not a change: counters/fold.sql.
    coalesce(came, 0) < 16
  FROM "{schema}".pending_deltas(cast(:sender_id AS bigint), NULL, NULL, cast(:isp AS text))
),

change AS MATERIALIZED (
  SELECT recorded.at, recorded.isp, recorded.new, recorded.proc, recorded.retry, recorded.hold, recorded.arrived
  FROM asked
    CROSS JOIN LATERAL "{schema}".recorded_changes(
      cast(:sender_id AS bigint), cast(:step AS integer), asked.since, asked.is_total
    ) AS recorded
  WHERE cast(:isp AS text) IS NULL OR recorded.isp = cast(:isp AS text)
  UNION ALL
  SELECT asked.current_at, part.isp, part.new, part.proc, part.retry, part.hold, part.arrived
  FROM part
    CROSS JOIN asked
  WHERE part.is_change
),

present AS MATERIALIZED (
  SELECT
    isp,
    "{schema}".counter_sum(new) AS new,
    "{schema}".counter_sum(proc) AS proc,
    "{schema}".counter_sum(retry) AS retry,
    "{schema}".counter_sum(hold) AS hold
  FROM (
    SELECT isp, new, proc, retry, hold FROM part
    UNION ALL
    SELECT DISTINCT isp, 0, 0, 0, 0 FROM change
    UNION ALL
    SELECT coalesce(cast(:isp AS text), ''), 0, 0, 0, 0 WHERE NOT cast(:is_by_isp AS boolean)
  ) AS key
  GROUP BY isp
),

covered AS (
  SELECT at
  FROM asked
    INNER JOIN "{schema}".history_spans AS span ON span.since >= asked.asked_span
    CROSS JOIN LATERAL generate_series(
      "{schema}".start_of(asked.step, greatest(span.since, asked.known_since, asked.since) - interval '1 microsecond')
      + 2 * asked.step,
      least(span.until + interval '5 seconds', asked.current_at - asked.step),
      asked.step
    ) AS at
  UNION
  SELECT current_at FROM asked
),

step AS (
  SELECT
    at,
    isp,
    due.is_covered,
    coalesce(moved.arrived, 0) AS arrived,
    coalesce(moved.change, 0) AS change,
    "{schema}".counter_sum(moved.new) OVER later AS new,
    "{schema}".counter_sum(moved.proc) OVER later AS proc,
    "{schema}".counter_sum(moved.retry) OVER later AS retry,
    "{schema}".counter_sum(moved.hold) OVER later AS hold
  FROM (
    SELECT covered.at, present.isp, true AS is_covered
    FROM covered
      CROSS JOIN present
  ) AS due
    FULL JOIN (
      SELECT
        at,
        isp,
        "{schema}".counter_sum(arrived) AS arrived,
        "{schema}".counter_sum(new + proc + retry + hold) AS change,
        "{schema}".counter_sum(new) AS new,
        "{schema}".counter_sum(proc) AS proc,
        "{schema}".counter_sum(retry) AS retry,
        "{schema}".counter_sum(hold) AS hold
      FROM change
      GROUP BY at, isp
    ) AS moved USING (at, isp)
  WINDOW later AS (PARTITION BY isp ORDER BY at DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)

SELECT
  step.at,
  CASE WHEN cast(:is_by_isp AS boolean) THEN step.isp ELSE '' END AS isp,
  present.new - step.new AS new,
  present.proc - step.proc AS proc,
  present.retry - step.retry AS retry,
  present.hold - step.hold AS hold,
  CASE WHEN step.at < asked.current_at OR asked.is_known THEN step.arrived END AS arrived,
  CASE WHEN step.at < asked.current_at OR asked.is_known THEN step.arrived - step.change END AS departed
FROM step
  INNER JOIN present ON present.isp = step.isp
  CROSS JOIN asked
WHERE step.is_covered
  AND step.at - asked.step < asked.until
  AND (
    NOT cast(:is_by_isp AS boolean) OR step.arrived <> 0 OR step.change <> 0
    OR present.new <> step.new OR present.proc <> step.proc OR present.retry <> step.retry OR present.hold <> step.hold
  )
  AND (SELECT are_readable FROM "{schema}".counted())
ORDER BY step.at, step.isp
