-- limits: for this transaction, wait ten seconds for a lock and as long as it takes for the data
-- The rows are cheap arithmetic over an array, so compiling it would cost more than it saves.
-- parameters: none
SELECT /* seed/limits.sql */
  set_config('lock_timeout', '10s', true),
  set_config('statement_timeout', '0', true),
  set_config('idle_in_transaction_session_timeout', '0', true),
  set_config('jit', 'off', true)
