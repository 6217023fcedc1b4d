-- nodes: the nodes that may have shards
-- parameters: none
SELECT /* queries/citus/nodes.sql */ nodename AS host, nodeport AS port
FROM pg_dist_node
WHERE isactive AND shouldhaveshards
ORDER BY nodeid
