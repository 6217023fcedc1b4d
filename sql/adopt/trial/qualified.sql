-- An expression of a mapping as a constraint, whose text queries/adopt/qualified.sql reads. Rolled back afterwards.
-- PostgreSQL 15 writes the expression of a view with the table's alias, which an index takes for a table.
-- places: schema, expression, messages
DROP TABLE IF EXISTS "{schema}".queuestats_row;

CREATE TABLE "{schema}".queuestats_row (
  LIKE "{messages}",
  CONSTRAINT queuestats_value CHECK ("{expression}" IS NULL)
);
