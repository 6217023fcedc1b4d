-- The table through which statements of a node reach the messages of all its shards, before the files of one machine.
-- places: schema

-- The shards of the node inherit from it, so that one statement reaches all of them.
CREATE TABLE IF NOT EXISTS "{schema}".messages (
  id bigint NOT NULL, sender_id bigint NOT NULL, account_id bigint NOT NULL, campaign_id bigint NOT NULL,
  isp text COLLATE "C" NOT NULL, status public.message_status NOT NULL, created_at timestamp with time zone NOT NULL
);
