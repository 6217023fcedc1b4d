-- index: the statement that makes an index of messages as it is, so that it can be dropped and made again
-- parameters: name text
SELECT /* bench/index.sql */ indexdef
FROM pg_indexes
WHERE schemaname = 'public' AND tablename = 'messages' AND indexname = cast(:name AS text)
