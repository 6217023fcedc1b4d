"""The schema: its tables, what `migrate` does, the service's role."""

from service.schema.migrate import migrate

__all__ = ["migrate"]
