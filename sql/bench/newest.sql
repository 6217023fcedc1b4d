-- newest: the number of the newest message, 0 where there is none
-- parameters: none
SELECT /* bench/newest.sql */
  coalesce(max(id), 0) AS id
FROM messages
