-- messages: the number of messages of the copy with a status (NULL: with any status)
-- places: schema
-- parameters: status text
SELECT /* adopt/trial/messages.sql */ count(*) AS messages
FROM "{schema}".queued_messages
WHERE cast(:status AS text) IS NULL OR cast(status AS text) = cast(:status AS text)
