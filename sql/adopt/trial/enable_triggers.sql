-- enable_triggers: writers of the copy are counted
-- places: messages
-- parameters: none
ALTER /* adopt/trial/enable_triggers.sql */ TABLE "{messages}" ENABLE TRIGGER USER
