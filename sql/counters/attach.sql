-- The triggers on messages. ENABLE ALWAYS: they also count what a session writes with session_replication_role =
-- replica. They are in a file of their own, because this takes a lock that blocks writers: run it with a short
-- lock_timeout and repeat it. There is one trigger for each event, because PostgreSQL allows transition tables only for
-- a single event.
-- The lock is taken before the proof is checked, because it waits for transactions that have disabled a trigger.
-- A table that Citus distributes has no triggers of its own: its shards have them.
-- places: schema, messages
DO $attach$ BEGIN
  IF "{schema}".is_distributed() THEN
    RETURN;
  END IF;
  LOCK TABLE "{messages}" IN SHARE ROW EXCLUSIVE MODE;
  PERFORM "{schema}".forget_unproven();

  CREATE OR REPLACE TRIGGER messages_inserted AFTER INSERT ON "{messages}"
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_insert();

  CREATE OR REPLACE TRIGGER messages_updated AFTER UPDATE ON "{messages}"
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_update();

  CREATE OR REPLACE TRIGGER messages_deleted AFTER DELETE ON "{messages}"
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_delete();

  CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON "{messages}"
  FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_truncate();

  ALTER TABLE "{messages}"
  ENABLE ALWAYS TRIGGER messages_inserted, ENABLE ALWAYS TRIGGER messages_updated,
  ENABLE ALWAYS TRIGGER messages_deleted, ENABLE ALWAYS TRIGGER messages_truncated;

  PERFORM "{schema}".begin_bounds();
  PERFORM "{schema}".remember_proof();
END $attach$;
