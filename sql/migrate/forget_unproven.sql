-- forget_unproven: deletes the baseline if the counters may lack messages, and with it what the background has noted
-- So it is after a restore, where the notes are of the database that the dump is from. A service writes them anew.
-- parameters: none
WITH /* migrate/forget_unproven.sql */ forgotten AS (
  DELETE FROM queuestats.background_tasks
  WHERE NOT queuestats.is_proven()
)

SELECT queuestats.forget_unproven()
