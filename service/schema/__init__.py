"""The schema: its tables, the steps of `migrate`, the service's role."""

from service.schema.migrate import migrate

__all__ = ["migrate"]
