-- vacuum: removes the dead rows of the queue and its counts, and updates the statistics
-- parameters: none
VACUUM /* bench/vacuum.sql */ (ANALYZE) messages, queuestats.deltas, queuestats.counters, queuestats.watermarks
