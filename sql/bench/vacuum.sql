-- vacuum: leaves no dead row in the queue and its counts, and fresh statistics
-- parameters: none
VACUUM /* bench/vacuum.sql */ (ANALYZE) messages, queuestats.deltas, queuestats.counters, queuestats.watermarks
