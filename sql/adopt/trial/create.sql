-- An empty copy of the table to be adopted, and a sample of up to 10,000 of its rows. Rolled back afterwards.
-- places: schema, messages, writable_columns
CREATE SCHEMA "{schema}";

CREATE TABLE "{schema}".copy (LIKE "{messages}" INCLUDING ALL);

CREATE TABLE "{schema}".rows AS
SELECT row_number() OVER () AS trial_number, "{writable_columns}"
FROM (
  SELECT * FROM "{messages}"
  LIMIT 10000
) AS sample;

CREATE INDEX ON "{schema}".rows (trial_number);
