-- follow_partitions: counts partitions that came empty; whether the partitions are those that are counted then
-- parameters: none
SELECT /* queries/follow_partitions.sql */ queuestats.follow_partitions() AS is_counted
