-- toggle: takes one message, or puts it back: one pending delta each time
-- parameters: id bigint
UPDATE /* bench/toggle.sql */ messages
SET status = CASE status WHEN 'proc' THEN cast('retry' AS message_status) ELSE 'proc' END
WHERE id = cast(:id AS bigint)
