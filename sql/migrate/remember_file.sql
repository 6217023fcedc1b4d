-- remember_file: records that a file of sql/ was run: its name, and a hash of its text
-- places: schema
-- parameters: name text, hash text
INSERT /* migrate/remember_file.sql */ INTO "{schema}".repeatable_migrations (name, hash)
VALUES (cast(:name AS text), cast(:hash AS text))
ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, applied_at = excluded.applied_at
