-- The parent table of the tables of the shards. migrate runs this file before the files that one machine has too.
-- places: schema, messages

-- DROP SCHEMA ... CASCADE of the schema of the parent would drop the tables of the shards, with their messages. So the
-- parent has a separate schema, and DROP SCHEMA for the counters drops no messages.
CREATE SCHEMA IF NOT EXISTS queuestats_shards;
COMMENT ON SCHEMA queuestats_shards IS
'Never drop this schema with CASCADE: the tables of the shards inherit from messages, so their messages would be lost.';

-- The tables of the node's shards inherit from this table, so that one statement reads all of them.
CREATE TABLE IF NOT EXISTS "{messages}" (
  id bigint NOT NULL, sender_id bigint NOT NULL, account_id bigint NOT NULL, campaign_id bigint NOT NULL,
  isp text COLLATE "C" NOT NULL, status public.message_status NOT NULL, created_at timestamp with time zone NOT NULL
);

-- The shards whose holds, jobs and entries of the audit log may still be on another node. This node does not change
-- them until all are copied: control.sql. arrival: a number that changes when the shard arrives again.
CREATE TABLE IF NOT EXISTS "{schema}".arrived_shards (
  shard bigint PRIMARY KEY, arrival bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  arrived_at timestamp with time zone NOT NULL DEFAULT now()
);

-- is_distributed: always false. Functions that refuse a distributed table call it, and the parent on a node is not
-- distributed.
CREATE OR REPLACE FUNCTION "{schema}".is_distributed() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT false $$;
