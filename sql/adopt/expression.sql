-- expression: an expression of a mapping; the statement is only prepared, and not run, to get the type
-- places: expression, messages
-- parameters: none
SELECT /* adopt/expression.sql */ "{expression}" FROM "{messages}" AS queuestats_row
