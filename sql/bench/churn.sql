-- churn: changes the status of one in a hundred messages, evenly over the whole table; `slice` is 0 to 99
-- parameters: slice bigint
UPDATE /* bench/churn.sql */ messages
SET
  status = CASE status
    WHEN 'new' THEN cast('proc' AS message_status)
    WHEN 'proc' THEN 'retry'
    WHEN 'retry' THEN 'proc'
    WHEN 'hold' THEN 'new'
  END
WHERE id % 100 = cast(:slice AS bigint)
