-- The plainest way to write those rows: one statement, into the same table with the same indexes and triggers.
BEGIN;
TRUNCATE public.messages;
INSERT INTO public.messages SELECT * FROM public.bench_messages;
COMMIT;
