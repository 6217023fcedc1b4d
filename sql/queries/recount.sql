-- recount: recounts all messages if the counters can't be used and a recount repairs them; returns whether it did
-- parameters: none
SELECT /* queries/recount.sql */ queuestats.recount_if_needed() AS is_done
