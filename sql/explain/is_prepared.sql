-- is_prepared: whether this session has the statement that explain prepares
-- parameters: none
SELECT /* explain/is_prepared.sql */
  EXISTS(SELECT FROM pg_prepared_statements WHERE name = 'explained') AS is_prepared
