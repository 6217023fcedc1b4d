-- move: moves a shard to another node; its writers wait until it is copied
-- parameters: shard bigint, from_host text, from_port integer, to_host text, to_port integer
SELECT /* bench/citus/move.sql */
  citus_move_shard_placement(
    cast(:shard AS bigint),
    cast(:from_host AS text), cast(:from_port AS integer),
    cast(:to_host AS text), cast(:to_port AS integer),
    'block_writes'
  )
