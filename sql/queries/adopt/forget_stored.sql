-- forget_stored: what held messages were stored as, where the mapping writes another column or type from now on
-- A release then writes what the mapping names for their former status.
-- parameters: stored_column text, stored_type text
UPDATE /* queries/adopt/forget_stored.sql */ queuestats.held_messages
SET stored_status = NULL
FROM queuestats.adopted
WHERE adopted.mapping -> 'values' ->> 'stored_column' <> cast(:stored_column AS text)
  OR adopted.mapping -> 'values' ->> 'stored_type' <> cast(:stored_type AS text)
