-- stored_value: a value that hold and release write; an error if the type of the column lacks the value
-- places: expression
-- parameters: none
SELECT /* adopt/stored_value.sql */ "{expression}" AS value
