"""Counts below zero, which only drift can leave: no answer is sent that has one."""

import logging

from service.errors import Unavailable
from service.telemetry.metrics import NEGATIVE_ANSWERS

logger = logging.getLogger(__name__)


def refuse(sender_id: int) -> Unavailable:
    """The error in place of an answer about this sender. The log says how its counts are repaired."""
    NEGATIVE_ANSWERS.inc()
    advice = f"queuestats verify --sender {sender_id} --repair"
    logger.error("a count is below zero sender=%s advice=%r", sender_id, advice)
    return Unavailable(": the counts of the queue are wrong")
