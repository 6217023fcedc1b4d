-- limits: for this transaction, limits waits for locks to ten seconds, and removes the limit on statements
-- JIT is off: the rows are cheap arithmetic over an array, so compiling would cost more than it saves.
-- parameters: none
SELECT /* seed/limits.sql */
  set_config('lock_timeout', '10s', true),
  set_config('statement_timeout', '0', true),
  set_config('idle_in_transaction_session_timeout', '0', true),
  set_config('jit', 'off', true)
