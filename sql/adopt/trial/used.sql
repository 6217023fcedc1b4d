-- The expressions of a mapping as a view, whose dependencies queries/adopt/used.sql reads. Rolled back afterwards.
-- places: schema, expressions, messages
CREATE SCHEMA "{schema}";

-- No mapping writes this alias: an expression is over columns, never over the row as a whole.
CREATE VIEW "{schema}".used AS SELECT "{expressions}" FROM "{messages}" AS queuestats_row;
