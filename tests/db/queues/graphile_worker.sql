CREATE SCHEMA graphile_worker;
CREATE TABLE graphile_worker._private_jobs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_queue_id integer,
  task_id integer NOT NULL,
  payload json NOT NULL DEFAULT '{}',
  priority smallint NOT NULL DEFAULT 0,
  run_at timestamptz NOT NULL DEFAULT now(),
  attempts smallint NOT NULL DEFAULT 0,
  max_attempts smallint NOT NULL DEFAULT 25,
  last_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  key text UNIQUE,
  locked_at timestamptz,
  locked_by text,
  revision integer NOT NULL DEFAULT 0,
  flags jsonb,
  is_available boolean NOT NULL GENERATED ALWAYS AS ((locked_at IS NULL) AND (attempts < max_attempts)) STORED
);
INSERT INTO graphile_worker._private_jobs (task_id, payload, attempts, locked_at)
SELECT
  1,
  json_build_object('tenant', 'tenant ' || n % 4, 'campaign', n % 3, 'to', 'a@isp' || n % 2 || '.example'),
  n % 3, CASE WHEN n % 5 = 0 THEN now() END
FROM generate_series(1, 200) AS n;
