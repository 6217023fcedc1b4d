-- expression: an expression of a mapping; it is prepared, so that PostgreSQL tells its type, and not run
-- places: expression, messages
-- parameters: none
SELECT /* adopt/expression.sql */ "{expression}" FROM "{messages}" AS queuestats_row
