-- forget_stored: deletes the stored values of held messages if the new mapping writes another column or type
-- A release then writes the mapping's value for their former status.
-- parameters: stored_column text, stored_type text
UPDATE /* queries/adopt/forget_stored.sql */ queuestats.held_messages
SET stored_status = NULL
FROM queuestats.adopted
WHERE adopted.mapping -> 'values' ->> 'stored_column' <> cast(:stored_column AS text)
  OR adopted.mapping -> 'values' ->> 'stored_type' <> cast(:stored_type AS text)
