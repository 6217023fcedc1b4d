-- store: writes a status to all messages of the copy, as hold and release do
-- places: schema, message_status
-- parameters: status text
UPDATE /* adopt/trial/store.sql */ "{schema}".queued_messages
SET stored_status = "{schema}".stored_status(cast(cast(:status AS text) AS "{message_status}"))
