-- The trigger that keeps the names of keys, on an adopted table that is partitioned.
CREATE OR REPLACE TRIGGER messages_named AFTER INSERT OR UPDATE ON :queue
FOR EACH ROW WHEN (queuestats.is_mapped(NULL) IS NULL) EXECUTE FUNCTION queuestats.record_names();
