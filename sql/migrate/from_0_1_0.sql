-- from_0_1_0: moves the tokens of a database of 0.1.0, and drops its triggers, functions and counters
-- Version 0.1.0 had all objects in the schema public. The table of messages stays there, with its type. The revisions
-- have created the schema queuestats before. All runs in one transaction, in which writers wait for the new index. It
-- fails if an object of another application depends on a dropped object.
-- parameters: none
INSERT /* migrate/from_0_1_0.sql */ INTO queuestats.tokens (name, hash, created_at, revoked_at, scopes)
SELECT name, hash, created_at, revoked_at, scopes
FROM public.tokens;

DROP INDEX public.messages_sender_id_status;
CREATE INDEX messages_by_arrival ON public.messages (sender_id, status, created_at);
DROP TRIGGER messages_inserted ON public.messages;
DROP TRIGGER messages_updated ON public.messages;
DROP TRIGGER messages_deleted ON public.messages;
DROP TRIGGER messages_truncated ON public.messages;
DROP FUNCTION
public.messages_inserted(), public.messages_updated(), public.messages_deleted(), public.messages_truncated(),
public.fold(integer, double precision, interval), public.rebuild(bigint), public.audit(bigint),
public.recount(bigint), public.pending(bigint, boolean), public.kept(bigint, smallint),
public.unfolded(bigint, bigint, bigint, text), public.grouping_of(boolean, boolean, boolean),
public.folder_lock(), public.take_folder_lock(boolean), public.read_total(bigint, bigint, bigint, text),
public.read_accounts(bigint, bigint, text), public.read_isps(bigint, bigint, bigint),
public.read_campaigns(bigint, bigint, text), public.read_account_campaigns(bigint),
public.read_account_campaigns_of_isp(bigint, text);
DROP AGGREGATE public.counter_sum(bigint);

-- The service's role now reads a view without the recipient.
DO $$
DECLARE
  reader regrole;
BEGIN
  FOR reader IN
    SELECT granted.grantee
    FROM pg_class AS relation CROSS JOIN LATERAL aclexplode(relation.relacl) AS granted
    WHERE relation.oid = cast('public.installed' AS regclass) AND granted.grantee NOT IN (0, relation.relowner)
  LOOP
    EXECUTE format('REVOKE SELECT ON public.messages FROM %s', reader);
  END LOOP;
END
$$;

DROP VIEW public.believed_horizons;
DROP TABLE
public.counters, public.deltas, public.horizons, public.baseline, public.tokens, public.installed,
public.alembic_version;

-- The first revision created a second, empty table of messages in our schema, and a second type.
ALTER TABLE queuestats.held_messages
ALTER former_status TYPE public.message_status USING cast(cast(former_status AS text) AS public.message_status);
DROP TABLE queuestats.messages;
DROP TYPE queuestats.message_status;
