-- recount: counts all messages anew if the counters can't be used and a count repairs that; returns whether it counted
-- parameters: none
SELECT /* queries/recount.sql */ queuestats.recount_if_needed() AS is_done
