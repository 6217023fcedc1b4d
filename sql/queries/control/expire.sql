-- expire: begins a release for each hold whose time is over
-- parameters: none
SELECT /* queries/control/expire.sql */ queuestats.expire_holds() AS expired
