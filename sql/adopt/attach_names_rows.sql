-- The trigger that keeps the names of keys, on an adopted table that is partitioned.
-- places: messages, schema
CREATE OR REPLACE TRIGGER messages_named AFTER INSERT OR UPDATE ON "{messages}"
FOR EACH ROW EXECUTE FUNCTION "{schema}".record_names();
