-- An error if a mapping depends on anything outside the row: an index allows only expressions over the row itself.
-- places: search_path, messages, sender, account, campaign, isp, status, id, created, condition, schema
SET LOCAL search_path = "{search_path}", pg_temp;

CREATE INDEX only_the_row
ON "{messages}" (("{sender}"), ("{account}"), ("{campaign}"), ("{isp}"), ("{status}"), ("{id}"), ("{created}"))
WHERE "{condition}";

DROP INDEX "{schema}".only_the_row;
