-- uncounted: why nothing is answered from the counters; no row where all is well
-- parameters: none
SELECT /* queries/uncounted.sql */ reason, can_be_counted, is_waiting
FROM queuestats.why_uncounted()
