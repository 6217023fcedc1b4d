-- enable_triggers: enables the triggers on the copy, so that writers are counted
-- places: messages
-- parameters: none
ALTER /* adopt/trial/enable_triggers.sql */ TABLE "{messages}" ENABLE TRIGGER USER
