CREATE TABLE post_office_email (
  id serial PRIMARY KEY,
  from_email varchar(254) NOT NULL,
  "to" text NOT NULL,
  cc text NOT NULL DEFAULT '',
  bcc text NOT NULL DEFAULT '',
  subject varchar(989) NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  html_message text NOT NULL DEFAULT '',
  status smallint CHECK (status >= 0),
  priority smallint CHECK (priority >= 0),
  created timestamptz NOT NULL DEFAULT now(),
  last_updated timestamptz NOT NULL DEFAULT now(),
  scheduled_time timestamptz,
  expires_at timestamptz,
  message_id varchar(255),
  number_of_retries integer,
  headers text,
  template_id integer,
  context text,
  backend_alias varchar(64) NOT NULL DEFAULT ''
);
CREATE INDEX post_office_email_status ON post_office_email (status);
INSERT INTO post_office_email (from_email, "to", status)
SELECT 'sender' || n % 3 || '@example.com', 'a@isp' || n % 2 || '.example', (ARRAY[0, 1, 2, 3])[1 + n % 4]
FROM generate_series(1, 200) AS n;
