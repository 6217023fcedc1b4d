-- Takes away what copy.sql made.
DROP TABLE IF EXISTS public.bench_messages;
