-- grants: the statements that give the service's role its minimal rights on a node
-- parameters: role text
SELECT /* citus/grants.sql */ format(template, cast(:role AS text)) AS statement
FROM (
  VALUES
  (1, 'GRANT USAGE ON SCHEMA queuestats_local TO %I'),
  (
    2, 'GRANT SELECT ON queuestats_local.counters, queuestats_local.sender_totals, queuestats_local.deltas,'
    ' queuestats_local.watermarks, queuestats_local.trusted_watermarks, queuestats_local.shards,'
    ' queuestats_local.keys, queuestats_local.queued_messages, queuestats_local.bounds, queuestats_local.history,'
    ' queuestats_local.history_changes, queuestats_local.history_steps, queuestats_local.history_spans,'
    ' queuestats_local.history_begins, queuestats_local.objects, queuestats_local.adopted,'
    ' queuestats_local.repeatable_migrations,'
    ' queuestats_local.holds, queuestats_local.held_messages, queuestats_local.jobs, queuestats_local.audit_log,'
    ' queuestats_local.arrived_shards TO %I'
  ),
  (
    3, 'GRANT EXECUTE ON FUNCTION queuestats_local.fold, queuestats_local.compact, queuestats_local.settle,'
    ' queuestats_local.shard_of, queuestats_local.has_stayed, queuestats_local.messages_here,'
    ' queuestats_local.roll_up_history, queuestats_local.raise_bounds, queuestats_local.oldest_senders,'
    ' queuestats_local.audit_shards, queuestats_local.begin_job, queuestats_local.advance_job,'
    ' queuestats_local.next_job, queuestats_local.postpone_job, queuestats_local.cancel_job,'
    ' queuestats_local.expire_holds, queuestats_local.preview_job, queuestats_local.prune,'
    ' queuestats_local.held_differences,'
    ' queuestats_local.require_control, queuestats_local.leaving, queuestats_local.receive, queuestats_local.leave,'
    ' queuestats_local.complete TO %I'
  )
) AS wanted (number, template)
ORDER BY number
