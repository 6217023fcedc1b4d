-- recount: counts all messages anew where that is all that is missing; whether it did
-- parameters: none
SELECT /* queries/recount.sql */ queuestats.recount_if_needed() AS is_done
