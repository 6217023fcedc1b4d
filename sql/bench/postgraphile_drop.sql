-- Takes away what postgraphile.sql made.
DROP SCHEMA IF EXISTS postgraphile_rival CASCADE;
