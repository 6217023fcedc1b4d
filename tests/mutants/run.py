"""Mutation testing: changes the code in small ways, and reports the changes that no test notices.

`make mutants` runs mutmut as [tool.mutmut] of pyproject.toml describes, and compares what survived with survivors.toml.
The exit code is 1 for a survivor that is not explained there, and where less than `LEAST_KILLED` of a module is killed.
"""

import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

LEAST_KILLED = 0.9
SURVIVORS = Path(__file__).with_name("survivors.toml")
ALIVE = {"survived", "no tests", "suspicious"}
MUTMUT = Path(sys.executable).with_name("mutmut")


def mutmut(*arguments: str) -> str:
    return subprocess.run([MUTMUT, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def statuses() -> dict[str, str]:
    """The status of each mutant that has been run, by its name."""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {name: status for name, _, status in lines if name and status != "not checked"}


def change_of(mutant: str) -> str:
    """The lines that a mutant replaces and those in their place, without their indent: `- old` and `+ new`."""
    lines = mutmut("show", mutant).splitlines()
    return "\n".join(
        f"{line[0]} {line[1:].strip()}"
        for line in lines
        if line[:1] in "+-" and line[:3] not in ("+++", "---") and line
    )


def module_of(mutant: str) -> str:
    """service.queue.coalescer.xǁCoalescerǁ_start__mutmut_1: the module stands before the last point."""
    return mutant.rpartition(".")[0]


def is_left_out(mutant: str, left_out: Iterable[dict[str, Any]]) -> bool:
    return any(fnmatchcase(mutant, pattern) for entry in left_out for pattern in entry["mutants"])


def main() -> int:
    subprocess.run([MUTMUT, "run", *sys.argv[1:]], check=True)
    notes = tomllib.loads(SURVIVORS.read_text("utf-8"))
    explained = {(entry["module"], entry["change"].strip()) for entry in notes["survivor"]}
    found = {name: status for name, status in statuses().items() if not is_left_out(name, notes["left_out"])}
    mutants, alive = Counter(map(module_of, found)), Counter[str]()
    news = 0
    for name, status in found.items():
        if status in ALIVE:
            alive[module_of(name)] += 1
            change = change_of(name)
            if (module_of(name), change) not in explained:
                news += 1
                print(f"\n{name}: {status}\n{change}")
    print()
    for module, count in sorted(mutants.items()):
        print(f"{module}: {count - alive[module]} of {count} killed, {1 - alive[module] / count:.0%}")
    print(f"{news} survivors that {SURVIVORS.name} does not explain")
    return int(news > 0 or any(alive[module] > count * (1 - LEAST_KILLED) for module, count in mutants.items()))


if __name__ == "__main__":
    sys.exit(main())
