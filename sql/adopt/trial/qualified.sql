-- An expression of a mapping as a view, whose text queries/adopt/qualified.sql reads. Rolled back afterwards.
-- places: schema, expression, messages
DROP VIEW IF EXISTS "{schema}".qualified;

CREATE VIEW "{schema}".qualified AS SELECT "{expression}" AS queuestats_value FROM "{messages}" AS queuestats_row;
