"""A realistic queue for demonstrations, tests and benchmarks; the same plan always gives the same rows."""

from service.workbench.seed.plan import Profile, SeedPlan, default_senders
from service.workbench.seed.run import seed

__all__ = ["Profile", "SeedPlan", "default_senders", "seed"]
