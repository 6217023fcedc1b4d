-- encoding: the encoding of a database whose texts cannot be converted to UTF-8; no row if they can
-- parameters: none
SELECT /* migrate/encoding.sql */ pg_encoding_to_char(encoding) AS encoding
FROM pg_database
WHERE datname = current_database()
  AND encoding <> pg_char_to_encoding('UTF8')
  AND NOT EXISTS (
    SELECT FROM pg_conversion
    WHERE conforencoding = encoding AND contoencoding = pg_char_to_encoding('UTF8') AND condefault
  )
