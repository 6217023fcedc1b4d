-- forget_unproven: deletes the baseline and the records of background tasks if the counters may lack messages
-- This is the case after a restore, where the records are those of the database that was dumped. A service writes new
-- ones.
-- parameters: none
WITH /* migrate/forget_unproven.sql */ forgotten AS (
  DELETE FROM queuestats.background_tasks
  WHERE NOT queuestats.is_proven()
)

SELECT queuestats.forget_unproven()
