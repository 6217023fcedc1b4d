-- store: writes a status to all messages of the copy, as hold and release do
-- places: schema, messages, message_status, stored_column, stored_type, condition, sender, status
-- parameters: status text
UPDATE /* adopt/trial/store.sql */ "{messages}"
SET
  "{stored_column}"
  = cast("{schema}".stored_status(cast(cast(:status AS text) AS "{message_status}")) AS "{stored_type}")
WHERE "{condition}" AND "{sender}" > 0 AND "{status}" IS NOT NULL
