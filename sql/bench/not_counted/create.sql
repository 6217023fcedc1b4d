-- Disables counting, so that writes cost the same as without queuestats.
ALTER TABLE messages DISABLE TRIGGER USER;
