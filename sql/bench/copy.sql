-- Every message of the queue in a table of its own, which no index and no trigger slows down. Run whole, as
-- copy_back.sql is.
DROP TABLE IF EXISTS public.bench_messages;
CREATE TABLE public.bench_messages AS TABLE public.messages;
