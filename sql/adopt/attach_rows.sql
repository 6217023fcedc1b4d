-- The triggers on an adopted table that is partitioned, in place of counters/attach.sql.
-- The lock comes before the proof is checked: it waits for a transaction that has disabled a trigger or truncates a
-- partition. In a DO block, because LOCK TABLE alone is an error outside a transaction.
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

-- Of former releases, whose triggers named it.
DROP FUNCTION IF EXISTS "{schema}".is_mapped(integer);
