-- The triggers on an adopted table that is partitioned, in place of counters/attach.sql.
-- Before the look: who has a trigger switched off, or truncates a partition, is waited for.
LOCK TABLE :queue IN SHARE ROW EXCLUSIVE MODE;
SELECT queuestats.forget_unproven();

CREATE OR REPLACE TRIGGER messages_changed AFTER INSERT OR UPDATE OR DELETE ON :queue
FOR EACH ROW WHEN (queuestats.is_mapped(NULL) IS NULL) EXECUTE FUNCTION queuestats.record_row();

CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON :queue
FOR EACH STATEMENT WHEN (queuestats.is_mapped(NULL) IS NULL)
EXECUTE FUNCTION queuestats.record_truncate();

ALTER TABLE :queue ENABLE ALWAYS TRIGGER messages_changed, ENABLE ALWAYS TRIGGER messages_truncated;

SELECT queuestats.remember_proof();
