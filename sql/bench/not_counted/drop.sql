-- Undoes create.sql. The counters are used again after the next `queuestats migrate`.
ALTER TABLE messages ENABLE TRIGGER USER;
