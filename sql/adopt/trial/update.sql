-- update: writes rows of the copy again, as they are
-- places: messages, changed_column
-- parameters: addresses tid[]
UPDATE /* adopt/trial/update.sql */ "{messages}"
SET "{changed_column}" = "{changed_column}"
WHERE ctid = any(cast(:addresses AS tid[]))
RETURNING ctid AS address
