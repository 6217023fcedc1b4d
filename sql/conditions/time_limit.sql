-- time_limit: a time limit of the service's role is less than two seconds, and stops statements of requests
-- places: schema
-- parameters: service_role text
SELECT /* conditions/time_limit.sql */
  format('the role %s runs with %s = %s', role, name, value) AS finding,
  format('ALTER ROLE %I IN DATABASE %I SET %I = ''15s''', role, current_database(), name) AS command
FROM "{schema}".effective_settings(cast(:service_role AS text))
WHERE name IN ('statement_timeout', 'transaction_timeout')
  AND time_limit > interval '0'
  AND time_limit < interval '2 seconds'
ORDER BY name
