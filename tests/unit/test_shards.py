"""The text from which the schema of a shard is created."""

import subprocess
import sys

PROGRAM = """
from service.cluster.distribute import shard_definitions
print(shard_definitions())
"""


def test_its_text_is_the_same_in_every_process_so_migrate_does_not_repeat_it() -> None:
    texts = {subprocess.check_output([sys.executable, "-c", PROGRAM]) for _ in range(2)}
    assert len(texts) == 1
