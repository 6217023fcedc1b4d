"""Mutation testing: makes small changes of the code, and reports the changes that no test detects.

`make mutants` runs mutmut with [tool.mutmut] of pyproject.toml, and compares the survivors with survivors.toml. The
exit code is 1 if a survivor is not explained there, or if less than `LEAST_KILLED` of a part is killed. A part is an
entry of `only_mutate`.
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
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def mutmut(*arguments: str) -> str:
    return subprocess.run([MUTMUT, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def statuses() -> dict[str, str]:
    """The status of each mutant that has run, by its name."""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {name: status for name, _, status in lines if name and status != "not checked"}


def change_of(mutant: str) -> str:
    """The lines that a mutant replaces and the new lines, without indent: `- old` and `+ new`."""
    lines = mutmut("show", mutant).splitlines()
    return "\n".join(
        f"{line[0]} {line[1:].strip()}"
        for line in lines
        if line[:1] in "+-" and line[:3] not in ("+++", "---") and line
    )


def module_of(mutant: str) -> str:
    """The module of service.queue.coalescer.xǁCoalescerǁ_start__mutmut_1 is the text before the last point."""
    return mutant.rpartition(".")[0]


def parts() -> list[str]:
    """The parts, as the beginning of the names of their mutants: service.queue.coalescer, service.access."""
    paths = tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["mutmut"]["only_mutate"]
    return [path.removesuffix("/*").removesuffix(".py").replace("/", ".") for path in paths]


def is_left_out(mutant: str, left_out: Iterable[dict[str, Any]]) -> bool:
    return any(fnmatchcase(mutant, pattern) for entry in left_out for pattern in entry["mutants"])


def main() -> int:
    subprocess.run([MUTMUT, "run", *sys.argv[1:]], check=True)
    notes = tomllib.loads(SURVIVORS.read_text("utf-8"))
    explained = {(entry["module"], entry["change"].strip()) for entry in notes["survivor"]}
    found = {name: status for name, status in statuses().items() if not is_left_out(name, notes["left_out"])}
    mutants, alive = Counter[str](), Counter[str]()
    news = 0
    for name, status in found.items():
        part = next(part for part in parts() if name.startswith(f"{part}."))
        mutants[part] += 1
        if status in ALIVE:
            alive[part] += 1
            change = change_of(name)
            if (module_of(name), change) not in explained:
                news += 1
                print(f"\n{name}: {status}\n{change}")
    print()
    for part, count in mutants.items():
        print(f"{part}: {count - alive[part]} of {count} killed, {1 - alive[part] / count:.0%}")
    print(f"{news} survivors that {SURVIVORS.name} does not explain")
    return int(news > 0 or any(alive[part] > count * (1 - LEAST_KILLED) for part, count in mutants.items()))


if __name__ == "__main__":
    sys.exit(main())
