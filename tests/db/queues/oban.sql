CREATE TYPE oban_job_state AS ENUM (
  'available', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled'
);
CREATE TABLE oban_jobs (
  id bigserial PRIMARY KEY,
  state oban_job_state NOT NULL DEFAULT 'available',
  queue text NOT NULL DEFAULT 'default',
  worker text NOT NULL,
  args jsonb NOT NULL DEFAULT '{}',
  errors jsonb[] NOT NULL DEFAULT '{}',
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL DEFAULT 20,
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  attempted_at timestamp,
  completed_at timestamp,
  attempted_by text[],
  discarded_at timestamp,
  priority integer NOT NULL DEFAULT 0,
  tags text[] DEFAULT '{}',
  meta jsonb DEFAULT '{}',
  cancelled_at timestamp,
  CONSTRAINT positive_max_attempts CHECK (max_attempts > 0)
);
CREATE INDEX oban_jobs_state_queue_priority_scheduled_at_id_index
ON oban_jobs (state, queue, priority, scheduled_at, id);
INSERT INTO oban_jobs (state, worker, args)
SELECT
  (ARRAY['available', 'executing', 'retryable', 'completed'])[1 + n % 4]::oban_job_state,
  'Mailer.Deliver',
  jsonb_build_object('sender_id', 1 + n % 3, 'account_id', n % 5, 'to', 'a@isp' || n % 2 || '.example')
FROM generate_series(1, 200) AS n;
