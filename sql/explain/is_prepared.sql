-- is_prepared: whether this session has the prepared statement that explain makes
-- parameters: none
SELECT /* explain/is_prepared.sql */
  EXISTS(SELECT FROM pg_prepared_statements WHERE name = 'explained') AS is_prepared
