-- uncounted: on a node, for migrate: the shards of the node that are not counted yet
-- parameters: none
SELECT /* queries/citus/uncounted.sql */
  format('%s of its shards are not counted yet: their messages are read for each answer', count(*)) AS finding
FROM queuestats_local.unproved(queuestats_local.known())
WHERE state IN ('unattached', 'uncounted')
HAVING count(*) > 0
