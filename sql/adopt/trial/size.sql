-- size: how many rows are tried
-- places: schema
-- parameters: none
SELECT /* adopt/trial/size.sql */ count(*) AS rows
FROM "{schema}".rows
