-- uncounted: why the counters can't be used; no row if they can
-- parameters: none
SELECT /* queries/uncounted.sql */ reason, can_be_counted, is_waiting
FROM queuestats.why_uncounted()
