-- The triggers that keep the names of keys, on an adopted table.
CREATE OR REPLACE TRIGGER messages_named_insert AFTER INSERT ON :queue
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
WHEN (queuestats.is_mapped(NULL) IS NULL) EXECUTE FUNCTION queuestats.record_names();

CREATE OR REPLACE TRIGGER messages_named_update AFTER UPDATE ON :queue
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
WHEN (queuestats.is_mapped(NULL) IS NULL) EXECUTE FUNCTION queuestats.record_names();
