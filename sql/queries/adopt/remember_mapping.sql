-- remember_mapping: stores the mapping of the adopted table, as JSON, beside the view that it defines
-- parameters: mapping text
INSERT /* queries/adopt/remember_mapping.sql */ INTO queuestats.adopted (mapping, definition)
VALUES (cast(cast(:mapping AS text) AS jsonb), queuestats.mapping_definition())
