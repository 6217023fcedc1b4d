-- remember_objects: keeps what the schema holds now, for the condition `objects`
-- Functions and views are as the files just made them. What is known of tables and indexes changes with a revision
-- alone: one that is missing stays known.
-- parameters: is_new_revision boolean
WITH /* migrate/remember_objects.sql */ present AS (
  SELECT kind, name, definition
  FROM queuestats.catalog_objects()
),

forgotten AS (
  DELETE FROM queuestats.objects
  WHERE (kind IN ('function', 'view') OR cast(:is_new_revision AS boolean))
    AND (kind, name) NOT IN (SELECT kind, name FROM present)
)

INSERT INTO queuestats.objects AS known (kind, name, definition)
SELECT kind, name, definition FROM present
ON CONFLICT (
  kind, name) DO UPDATE SET definition = excluded.definition
WHERE known.kind IN ('function', 'view') OR cast(:is_new_revision AS boolean)
