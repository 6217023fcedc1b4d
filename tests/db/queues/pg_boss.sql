CREATE SCHEMA pgboss;
CREATE TYPE pgboss.job_state AS ENUM ('created', 'retry', 'active', 'completed', 'cancelled', 'failed');
CREATE TABLE pgboss.job (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  name text NOT NULL,
  priority integer NOT NULL DEFAULT 0,
  data jsonb,
  state pgboss.job_state NOT NULL DEFAULT 'created',
  retry_limit integer NOT NULL DEFAULT 2,
  retry_count integer NOT NULL DEFAULT 0,
  retry_delay integer NOT NULL DEFAULT 0,
  retry_backoff boolean NOT NULL DEFAULT false,
  start_after timestamptz NOT NULL DEFAULT now(),
  started_on timestamptz,
  singleton_key text,
  singleton_on timestamp,
  expire_in interval NOT NULL DEFAULT '15 minutes',
  created_on timestamptz NOT NULL DEFAULT now(),
  completed_on timestamptz,
  keep_until timestamptz NOT NULL DEFAULT now() + interval '14 days',
  output jsonb,
  dead_letter text,
  policy text,
  PRIMARY KEY (name, id)
) PARTITION BY LIST (name);
CREATE TABLE pgboss.job_mail PARTITION OF pgboss.job FOR VALUES IN ('mail');
INSERT INTO pgboss.job (name, data, state)
SELECT
  'mail', jsonb_build_object('sender', 1 + n % 3, 'to', 'a@isp' || n % 2 || '.example'),
  (ARRAY['created', 'retry', 'active', 'completed'])[1 + n % 4]::pgboss.job_state
FROM generate_series(1, 200) AS n;
