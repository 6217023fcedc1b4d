-- forget_baseline: from here on answers come from the messages themselves, until they are counted anew
-- parameters: none
DELETE /* migrate/forget_baseline.sql */ FROM queuestats.baseline
