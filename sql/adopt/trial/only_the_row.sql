-- An error if a mapping depends on more than the row: an index takes only what depends on the row alone.
-- places: search_path, messages, sender, account, campaign, isp, status, id, created, condition, schema
SET LOCAL search_path = "{search_path}", pg_temp;

CREATE INDEX only_the_row
ON "{messages}" (("{sender}"), ("{account}"), ("{campaign}"), ("{isp}"), ("{status}"), ("{id}"), ("{created}"))
WHERE "{condition}";

DROP INDEX "{schema}".only_the_row;
