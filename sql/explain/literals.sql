-- literals: values as they are written in SQL, in their order
-- parameters: given text[]
SELECT /* explain/literals.sql */ array_agg(quote_nullable(value) ORDER BY position) AS literals
FROM unnest(cast(:given AS text[])) WITH ORDINALITY AS parameter (value, position)
