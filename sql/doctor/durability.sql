-- durability: server settings that may lose messages in a crash
-- parameters: none
SELECT /* doctor/durability.sql */
  'warning' AS severity,
  format('%s is off', name) AS finding,
  'A crash may lose or damage messages. Switch it on, unless the data is a throwaway.' AS advice
FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
ORDER BY name
