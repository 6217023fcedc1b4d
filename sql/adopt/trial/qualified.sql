-- An expression of a mapping as a constraint, whose text queries/adopt/qualified.sql reads. Rolled back afterwards.
-- A constraint and not a view: PostgreSQL 15 writes the expression of a view with the table's alias, which CREATE INDEX
-- reads as a table name.
-- places: schema, expression, messages
DROP TABLE IF EXISTS "{schema}".queuestats_row;

CREATE TABLE "{schema}".queuestats_row (
  LIKE "{messages}",
  CONSTRAINT queuestats_value CHECK ("{expression}" IS NULL)
);
