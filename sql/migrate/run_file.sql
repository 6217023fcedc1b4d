-- run_file: runs the text of a file of functions and views; first drops objects that CREATE OR REPLACE can't change
-- parameters: file text
-- places: schema
SELECT /* migrate/run_file.sql */ "{schema}".create_or_replace(cast(:file AS text), '"{schema}"')
