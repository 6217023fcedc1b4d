-- forget_baseline: from here on answers come from the messages themselves, until they are counted anew
-- parameters: none
DELETE /* queries/forget_baseline.sql */ FROM queuestats.baseline
