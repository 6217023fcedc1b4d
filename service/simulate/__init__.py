"""A mail transfer agent that plays on a disposable database: it writes as a real one does, at a given rate."""

from service.simulate.plan import SimulationPlan, SimulationReport, Totals
from service.simulate.run import simulate

__all__ = ["SimulationPlan", "SimulationReport", "Totals", "simulate"]
