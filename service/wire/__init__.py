"""The formats: bytes to a query, a report to bytes. Pure."""
