-- follow_partitions: includes partitions that were attached empty; returns whether all partitions are counted
-- parameters: none
SELECT /* queries/follow_partitions.sql */ queuestats.follow_partitions() AS is_counted
