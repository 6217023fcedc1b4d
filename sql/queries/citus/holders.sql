-- holders: the nodes that may have holds and jobs of any shard, also of a shard that has moved to another node
-- parameters: none
SELECT /* queries/citus/holders.sql */ nodename AS host, nodeport AS port
FROM pg_dist_node
WHERE noderole = 'primary'
ORDER BY nodeid
