-- has_baseline: whether all messages were counted
-- parameters: none
SELECT /* migrate/has_baseline.sql */ EXISTS(SELECT FROM queuestats.baseline) AS has_baseline
