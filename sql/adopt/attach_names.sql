-- The triggers that keep the names of keys, on an adopted table.
-- places: messages, schema
CREATE OR REPLACE TRIGGER messages_named_insert AFTER INSERT ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_names();

CREATE OR REPLACE TRIGGER messages_named_update AFTER UPDATE ON "{messages}"
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".record_names();
