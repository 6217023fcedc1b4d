-- expire: begins a release for each expired hold
-- parameters: none
SELECT /* queries/control/expire.sql */ queuestats.expire_holds() AS expired
