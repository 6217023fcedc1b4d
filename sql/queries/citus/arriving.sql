-- arriving: on a node of a cluster, what doctor finds: shards whose holds and jobs have not been brought for a minute
-- parameters: none
SELECT /* queries/citus/arriving.sql */
  format(
    'the holds and jobs of %s of its shards may still be on another node, which the service can''t reach', count(*)
  ) AS finding
FROM queuestats_local.arrived_shards
WHERE arrived_at < now() - interval '1 minute'
HAVING count(*) > 0
