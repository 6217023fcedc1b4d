-- baseline: whether the counters hold all messages; until they do, the scan answers
-- parameters: none
SELECT /* queries/baseline.sql */ EXISTS(SELECT FROM queuestats.baseline WHERE stands) AS stands
