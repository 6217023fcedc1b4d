-- update: updates rows of the copy without a change of their values
-- places: messages, changed_column
-- parameters: addresses tid[]
UPDATE /* adopt/trial/update.sql */ "{messages}"
SET "{changed_column}" = "{changed_column}"
WHERE ctid = any(cast(:addresses AS tid[]))
RETURNING ctid AS address
