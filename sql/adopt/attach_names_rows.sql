-- The trigger on a partitioned adopted table that stores the names of keys.
-- places: messages, schema
CREATE OR REPLACE TRIGGER messages_named AFTER INSERT OR UPDATE ON "{messages}"
FOR EACH ROW EXECUTE FUNCTION "{schema}".record_names();
