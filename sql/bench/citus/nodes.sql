-- nodes: on the coordinator, its own address, if the cluster has one, and the nodes that may get shards
-- parameters: none
SELECT /* bench/citus/nodes.sql */
  nodename AS host,
  nodeport AS port,
  groupid = 0 AS is_coordinator
FROM pg_dist_node
WHERE noderole = 'primary' AND isactive AND 0 = (SELECT groupid FROM pg_dist_local_group)
ORDER BY groupid
