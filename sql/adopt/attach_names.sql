-- The triggers on an adopted table that store the names of keys.
-- places: messages, schema
CREATE OR REPLACE TRIGGER messages_named_insert AFTER INSERT ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_names();

CREATE OR REPLACE TRIGGER messages_named_update AFTER UPDATE ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_names();
