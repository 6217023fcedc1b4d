-- set_bounds: sets the bounds of all senders, once for each database; see counters/bounds.sql
-- parameters: none
SELECT /* migrate/set_bounds.sql */
  queuestats.take_fold_lock(is_waiting => true),
  queuestats.set_bounds(NULL)
FROM queuestats.bounds
WHERE sender_id = 0 AND new = '-infinity'
