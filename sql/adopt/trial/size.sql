-- size: the number of rows in the trial
-- places: schema
-- parameters: none
SELECT /* adopt/trial/size.sql */ count(*) AS rows
FROM "{schema}".rows
