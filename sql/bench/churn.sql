-- churn: changes the status of one message in a hundred, evenly over the whole table; `slice` (0 to 99) says which
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
