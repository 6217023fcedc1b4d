-- remember_mapping: stores the mapping of the adopted table, as JSON
-- parameters: mapping text
INSERT /* queries/adopt/remember_mapping.sql */ INTO queuestats.adopted (mapping)
VALUES (cast(cast(:mapping AS text) AS jsonb))
