-- remember_objects: records the objects of the schema, for the condition `objects`
-- Functions and views are recorded after each run of the files. Tables and indexes are recorded only after a revision,
-- so that a missing one stays in the record.
-- places: schema
-- parameters: is_new_revision boolean
WITH /* migrate/remember_objects.sql */ present AS (
  SELECT kind, name, definition
  FROM "{schema}".catalog_objects()
),

forgotten AS (
  DELETE FROM "{schema}".objects
  WHERE (kind IN ('function', 'view') OR cast(:is_new_revision AS boolean))
    AND (kind, name) NOT IN (SELECT kind, name FROM present)
)

INSERT INTO "{schema}".objects AS known (kind, name, definition)
SELECT kind, name, definition FROM present
ON CONFLICT (
  kind, name) DO UPDATE SET definition = excluded.definition
WHERE known.kind IN ('function', 'view') OR cast(:is_new_revision AS boolean)
