-- Undoes create.sql.
DELETE FROM queuestats.holds
WHERE sender_id > 1000000000000 AND created_by = 'bench';
