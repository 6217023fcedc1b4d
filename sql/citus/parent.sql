-- The table through which statements of a node reach the messages of all its shards, before the files of one machine.
-- places: schema, messages

-- DROP SCHEMA with CASCADE of the parent's schema would drop the shards, and with them the messages. So the parent is
-- in a schema of its own, and DROP SCHEMA of the counters drops no messages.
CREATE SCHEMA IF NOT EXISTS queuestats_shards;
COMMENT ON SCHEMA queuestats_shards IS
'Never drop this schema with CASCADE: the tables of the shards inherit from messages, so their messages would be lost.';

-- The shards of the node inherit from it, so that one statement reaches all of them.
CREATE TABLE IF NOT EXISTS "{messages}" (
  id bigint NOT NULL, sender_id bigint NOT NULL, account_id bigint NOT NULL, campaign_id bigint NOT NULL,
  isp text COLLATE "C" NOT NULL, status public.message_status NOT NULL, created_at timestamp with time zone NOT NULL
);

-- The shards whose holds, jobs and entries of the audit log may still be on another node. Until they have been brought
-- here, they are not changed here: control.sql. arrival: a shard that comes again has another number.
CREATE TABLE IF NOT EXISTS "{schema}".arrived_shards (
  shard bigint PRIMARY KEY, arrival bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  arrived_at timestamp with time zone NOT NULL DEFAULT now()
);

-- is_distributed: of the table of this node, for functions that refuse a distributed table.
CREATE OR REPLACE FUNCTION "{schema}".is_distributed() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT false $$;
