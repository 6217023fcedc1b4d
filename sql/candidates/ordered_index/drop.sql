-- Takes away what create.sql made.
DROP INDEX IF EXISTS public.messages_ordered;
