-- drop_schema: removes all objects of queuestats from the database of an adopted table, with the counts and the tokens
-- parameters: none
DROP /* queries/adopt/drop_schema.sql */ SCHEMA queuestats CASCADE
