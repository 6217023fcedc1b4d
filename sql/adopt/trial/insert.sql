-- insert: inserts the rows with the numbers first to last of the sample into the copy
-- places: messages, writable_columns, schema
-- parameters: first bigint, last bigint
INSERT /* adopt/trial/insert.sql */ INTO "{messages}" ("{writable_columns}")
OVERRIDING SYSTEM VALUE
SELECT "{writable_columns}"
FROM "{schema}".rows
WHERE trial_number BETWEEN cast(:first AS bigint) AND cast(:last AS bigint)
RETURNING ctid AS address
