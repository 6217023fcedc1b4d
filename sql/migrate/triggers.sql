-- triggers: whether counting triggers are missing or disabled; no row if messages is distributed: its shards have them
-- parameters: none
SELECT /* migrate/triggers.sql */ is_missing OR is_off OR is_partial AS are_incomplete
FROM queuestats.trigger_state()
WHERE NOT queuestats.is_distributed()
