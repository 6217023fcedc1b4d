-- disable_triggers: writers of the copy are not counted
-- places: messages
-- parameters: none
ALTER /* adopt/trial/disable_triggers.sql */ TABLE "{messages}" DISABLE TRIGGER USER
