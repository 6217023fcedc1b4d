-- insert: inserts rows of the sample into the copy, from one number to another
-- places: messages, writable_columns, schema
-- parameters: first bigint, last bigint
INSERT /* adopt/trial/insert.sql */ INTO "{messages}" ("{writable_columns}")
OVERRIDING SYSTEM VALUE
SELECT "{writable_columns}"
FROM "{schema}".rows
WHERE trial_number BETWEEN cast(:first AS bigint) AND cast(:last AS bigint)
RETURNING ctid AS address
