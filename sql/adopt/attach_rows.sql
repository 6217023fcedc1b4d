-- The triggers on a partitioned adopted table, in place of counters/attach.sql.
-- The lock is taken before the proof is checked, because it waits for transactions that have disabled a trigger or that
-- truncate a partition. It is in a DO block, because LOCK TABLE alone is an error outside a transaction.
-- places: messages, schema
DO $$ BEGIN LOCK TABLE "{messages}" IN SHARE ROW EXCLUSIVE MODE; END $$;
SELECT "{schema}".forget_unproven();

CREATE OR REPLACE TRIGGER messages_changed AFTER INSERT OR UPDATE OR DELETE ON "{messages}"
FOR EACH ROW EXECUTE FUNCTION "{schema}".record_row();

CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON "{messages}"
FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_truncate();

ALTER TABLE "{messages}" ENABLE ALWAYS TRIGGER messages_changed, ENABLE ALWAYS TRIGGER messages_truncated;

SELECT "{schema}".begin_bounds();
SELECT "{schema}".remember_proof();

-- Triggers of former releases used this function.
DROP FUNCTION IF EXISTS "{schema}".is_mapped(integer);
