-- tables: the additional tables in a new schema of a node, and the storage parameters of the tables of one machine
-- places: schema
-- The shards whose tables have our triggers. The row of a shard that has left remains until its counts are deleted.
CREATE TABLE "{schema}".shards (
  shard bigint PRIMARY KEY,
  -- The range of the hashes of its senders.
  lowest integer NOT NULL, highest integer NOT NULL,
  -- Its table, and a hash for each trigger of the table. If the shard gets another table, these values differ.
  relation oid NOT NULL, triggers bigint[] NOT NULL,
  is_counted boolean NOT NULL DEFAULT false
);

-- This table exists only for its lock: settle() and rebuild() must not run at the same time. A lock on the table shards
-- would delay a TRUNCATE, which writes to it.
CREATE TABLE "{schema}".settle_lock ();

ALTER TABLE "{schema}".deltas SET (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_insert_threshold = -1,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = off
);
ALTER TABLE "{schema}".counters SET (
  fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE "{schema}".sender_totals SET (
  autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE "{schema}".watermarks SET (
  fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_cost_delay = 0
);
