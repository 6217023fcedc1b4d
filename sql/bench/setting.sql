-- setting: the statement that sets something for this database, from the next connection on
-- A value of NULL takes it back.
-- parameters: name text, value text
SELECT /* bench/setting.sql */
  CASE
    WHEN cast(:value AS text) IS NULL THEN format('ALTER DATABASE %I RESET %I', current_database(), cast(:name AS text))
    ELSE format(
        'ALTER DATABASE %I SET %I = %L', current_database(), cast(:name AS text), cast(:value AS text)
      )
  END
