-- expire: begins a release for each expired hold
-- places: schema
-- parameters: none
SELECT /* queries/control/expire.sql */ "{schema}".expire_holds() AS expired
