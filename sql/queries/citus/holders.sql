-- holders: the nodes that may have holds and jobs of any shard, also of one that is on another node now
-- parameters: none
SELECT /* queries/citus/holders.sql */ nodename AS host, nodeport AS port
FROM pg_dist_node
WHERE noderole = 'primary'
ORDER BY nodeid
