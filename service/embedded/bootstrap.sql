-- bootstrap: the owner's role and its database, where they are missing. Run by psql, as the superuser, at every start:
-- a start that was killed half-way is healed by the next one.
SELECT 'CREATE ROLE queuestats LOGIN CREATEDB CREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'queuestats')
\gexec
SELECT 'CREATE DATABASE queuestats OWNER queuestats'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'queuestats')
\gexec
\connect queuestats
ALTER SCHEMA public OWNER TO queuestats;
