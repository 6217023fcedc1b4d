-- forget_unproven: deletes the baseline if the counters may lack messages
-- parameters: none
SELECT /* migrate/forget_unproven.sql */ queuestats.forget_unproven()
