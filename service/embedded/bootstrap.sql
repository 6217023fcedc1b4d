-- bootstrap: creates the owner's role and its database if they are missing. psql runs it as the superuser at every
-- start, so the next start completes one that was interrupted.
SELECT 'CREATE ROLE queuestats LOGIN CREATEDB CREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'queuestats')
\gexec
SELECT 'CREATE DATABASE queuestats OWNER queuestats'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'queuestats')
\gexec
\connect queuestats
ALTER SCHEMA public OWNER TO queuestats;
