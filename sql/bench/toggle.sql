-- toggle: changes one message to proc, or from proc to retry; each call adds one pending delta
-- parameters: id bigint
UPDATE /* bench/toggle.sql */ messages
SET status = CASE status WHEN 'proc' THEN cast('retry' AS message_status) ELSE 'proc' END
WHERE id = cast(:id AS bigint)
