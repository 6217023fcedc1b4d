-- The triggers on an adopted table, in place of counters/attach.sql.
-- The lock is taken before the proof is checked, because it waits for transactions that have disabled a trigger. It is
-- in a DO block, because LOCK TABLE alone is an error outside a transaction.
-- places: messages, schema
DO $$ BEGIN LOCK TABLE "{messages}" IN SHARE ROW EXCLUSIVE MODE; END $$;
SELECT "{schema}".forget_unproven();

CREATE OR REPLACE TRIGGER messages_inserted AFTER INSERT ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_insert();

CREATE OR REPLACE TRIGGER messages_updated AFTER UPDATE ON "{messages}"
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_update();

CREATE OR REPLACE TRIGGER messages_deleted AFTER DELETE ON "{messages}"
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_delete();

CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON "{messages}"
FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_truncate();

ALTER TABLE "{messages}"
ENABLE ALWAYS TRIGGER messages_inserted, ENABLE ALWAYS TRIGGER messages_updated,
ENABLE ALWAYS TRIGGER messages_deleted, ENABLE ALWAYS TRIGGER messages_truncated;

SELECT "{schema}".begin_bounds();
SELECT "{schema}".remember_proof();

-- Triggers of former releases used this function.
DROP FUNCTION IF EXISTS "{schema}".is_mapped(integer);
