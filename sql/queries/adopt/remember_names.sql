-- remember_names: stores the texts of all keys of an adopted table; an error if two texts have the same number
-- parameters: none
SELECT /* queries/adopt/remember_names.sql */ queuestats.remember_names()
