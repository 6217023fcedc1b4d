-- extension: makes the scratch database a part of a cluster
-- parameters: none
CREATE /* bench/citus/extension.sql */ EXTENSION citus
