"""The formats: converts bytes to a query, and a report to bytes. Pure."""
