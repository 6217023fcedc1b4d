-- primaries: the nodes that have shards, or may get some
-- parameters: none
SELECT /* queries/citus/primaries.sql */ nodename AS host, nodeport AS port
FROM pg_dist_node
WHERE noderole = 'primary' AND isactive AND groupid <> 0
ORDER BY nodeid
