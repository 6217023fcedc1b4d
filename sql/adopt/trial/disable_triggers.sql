-- disable_triggers: disables the triggers on the copy, so that writers are not counted
-- places: messages
-- parameters: none
ALTER /* adopt/trial/disable_triggers.sql */ TABLE "{messages}" DISABLE TRIGGER USER
