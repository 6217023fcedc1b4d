-- stored: a column that hold and release can write, and its type; no row if there is none
-- parameters: table_name text, column_name text
SELECT /* queries/adopt/stored.sql */
  quote_ident(attname) AS stored_column,
  format_type(atttypid, atttypmod) AS stored_type
FROM pg_attribute
WHERE attrelid = to_regclass(cast(:table_name AS text)) AND attname = cast(:column_name AS text)
  AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
