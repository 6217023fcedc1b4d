-- Undoes create.sql. The counts are trusted again after the next `queuestats migrate`.
ALTER TABLE messages ENABLE TRIGGER USER;
