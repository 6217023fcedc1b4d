"""A mail transfer agent that plays on a disposable database: it writes as a real one does, at a given rate."""

from service.simulate.agent import SimulationPlan, Totals
from service.simulate.run import SimulationReport, simulate

__all__ = ["SimulationPlan", "SimulationReport", "Totals", "simulate"]
