-- join: adds a node to the cluster of the scratch database, from its coordinator
-- parameters: host text, port integer, is_coordinator boolean
SELECT /* bench/citus/join.sql */
  citus_add_node(
    cast(:host AS text), cast(:port AS integer),
    groupid => CASE WHEN cast(:is_coordinator AS boolean) THEN 0 ELSE -1 END
  )
