-- forget_unproven: deletes the baseline if the counters may lack messages
-- parameters: none
SELECT /* queries/forget_unproven.sql */ queuestats.forget_unproven()
