-- expression: an expression of a mapping; it is only prepared, and not run, so that PostgreSQL returns its type
-- places: expression, messages
-- parameters: none
SELECT /* adopt/expression.sql */ "{expression}" FROM "{messages}" AS queuestats_row
