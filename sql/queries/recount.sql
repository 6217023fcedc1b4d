-- recount: recounts all messages if the counters can't be used and a count repairs them; returns whether it counted
-- parameters: none
SELECT /* queries/recount.sql */ queuestats.recount_if_needed() AS is_done
