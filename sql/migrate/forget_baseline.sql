-- forget_baseline: makes queries scan the messages until all messages have been recounted
-- parameters: none
DELETE /* migrate/forget_baseline.sql */ FROM queuestats.baseline
