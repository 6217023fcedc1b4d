-- applied: the files that migrate has run on a node, with the hashes of their texts
-- places: schema
-- parameters: none
SELECT /* citus/applied.sql */ name, hash
FROM "{schema}".repeatable_migrations
WHERE name >= ''
