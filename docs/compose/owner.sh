#!/bin/sh
# Creates the owner and the database of queuestats. The image of PostgreSQL runs this script as the superuser when the server
# starts for the first time; docker-compose.yml mounts the script. An existing server needs the same statements: docs/deployment.md.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --set password="$OWNER_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE queuestats_owner LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE queuestats OWNER queuestats_owner;
SQL
