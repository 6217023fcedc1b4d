-- grouping_set_of: the name of the grouping set with these keys.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".grouping_set_of(is_by_account boolean, is_by_campaign boolean, is_by_isp boolean)
RETURNS "{schema}".grouping_set LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN is_by_account AND is_by_campaign AND is_by_isp THEN 'account_campaign_isp'::"{schema}".grouping_set
    WHEN is_by_account AND is_by_campaign THEN 'account_campaign'
    WHEN is_by_account AND is_by_isp THEN 'account_isp'
    WHEN is_by_campaign AND is_by_isp THEN 'campaign_isp'
    WHEN is_by_account THEN 'account'
    WHEN is_by_campaign THEN 'campaign'
    WHEN is_by_isp THEN 'isp'
    ELSE 'total'
  END
$$;
