-- tables: what a new schema of a node has beside the tables of one machine, and what the revisions set for those
-- places: schema
-- The shards whose tables have our triggers. A shard that has left stays until its counts are deleted.
CREATE TABLE "{schema}".shards (
  shard bigint PRIMARY KEY,
  -- The hashes of its senders.
  lowest integer NOT NULL, highest integer NOT NULL,
  -- Its table, and a hash for each trigger there: a table that came later has others.
  relation oid NOT NULL, triggers bigint[] NOT NULL,
  is_counted boolean NOT NULL DEFAULT false
);

-- For its lock: a step of settle() and rebuild() exclude each other. A TRUNCATE writes to shards and must not wait.
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
