-- delete: removes rows of the copy
-- places: messages
-- parameters: addresses tid[]
DELETE /* adopt/trial/delete.sql */ FROM "{messages}"
WHERE ctid = any(cast(:addresses AS tid[]))
