-- The expressions of a mapping as a view, whose dependencies queries/adopt/used.sql reads. Rolled back afterwards.
-- places: schema, expressions, messages
CREATE SCHEMA "{schema}";

-- No mapping uses this alias: its expressions refer to columns, never to the whole row.
CREATE VIEW "{schema}".used AS SELECT "{expressions}" FROM "{messages}" AS queuestats_row;
