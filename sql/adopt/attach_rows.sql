-- The triggers on an adopted table that is partitioned, in place of counters/attach.sql.
-- The lock comes before the proof is checked: it waits for a transaction that has disabled a trigger or truncates a
-- partition. In a DO block, because LOCK TABLE alone is an error outside a transaction.
DO $$ BEGIN LOCK TABLE :queue IN SHARE ROW EXCLUSIVE MODE; END $$;
SELECT queuestats.forget_unproven();

CREATE OR REPLACE TRIGGER messages_changed AFTER INSERT OR UPDATE OR DELETE ON :queue
FOR EACH ROW WHEN (queuestats.is_mapped(NULL) IS NULL) EXECUTE FUNCTION queuestats.record_row();

CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON :queue
FOR EACH STATEMENT WHEN (queuestats.is_mapped(NULL) IS NULL)
EXECUTE FUNCTION queuestats.record_truncate();

ALTER TABLE :queue ENABLE ALWAYS TRIGGER messages_changed, ENABLE ALWAYS TRIGGER messages_truncated;

SELECT queuestats.remember_proof();
