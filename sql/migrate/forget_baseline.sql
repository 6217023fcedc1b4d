-- forget_baseline: makes statements read the messages themselves, until these have been counted again
-- parameters: none
DELETE /* migrate/forget_baseline.sql */ FROM queuestats.baseline
