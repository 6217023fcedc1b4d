"""wrk as the load generator: it takes a tenth of the processor time that ours does."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from service.bench.load import HOST, Target
from service.bench.sample import Sample
from service.errors import CommandError

MISSING = "wrk is not installed (Debian, Ubuntu: apt install wrk)."
LONGEST_ANSWER_SECONDS = 60

# Lua, run by wrk: its own thread sends the requests in turn; the end is one line of JSON. Times come in microseconds.
_SCRIPT = """
local requests = {{{requests}}}
local number = 0
request = function()
  number = number % #requests + 1
  return requests[number]
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\nJSON {{"answers":%d,"refused":%d,"broken":%d,"us":%d,"p50":%d,"p95":%d,"p99":%d}}\\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def version() -> str:
    """wrk tells it with its usage, and fails then."""
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return told.partition("\n")[0].partition("[")[0].strip()


def drive(target: Target, connections: int, seconds: float) -> Sample:
    """One round. Raises CommandError where nothing was answered, or wrk could not run."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(requests=",".join(map(_quoted, target.requests))))
        script.flush()
        told = _run(Path(script.name), target.port, connections, seconds)
    answers = told["answers"] - told["refused"]
    if answers <= 0:
        raise CommandError(f"wrk got no answer within {seconds:g} s.")
    percentiles = [told[name] / 1000 for name in ("p50", "p95", "p99")]
    return Sample(answers, told["refused"] + told["broken"], told["us"] / 1e6, *percentiles)


def _run(script: Path, port: int, connections: int, seconds: float) -> dict[str, int]:
    options = [f"--connections={connections}", f"--duration={max(1, round(seconds))}s", "--threads=1"]
    command = ["wrk", *options, f"--timeout={LONGEST_ANSWER_SECONDS}s", f"--script={script}", f"http://{HOST}:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = done.stdout.rpartition("\nJSON ")[2]
    if done.returncode != 0 or not line.startswith("{"):
        raise CommandError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    told: dict[str, int] = json.loads(line)
    return told


def _quoted(request: bytes) -> str:
    """A Lua string: every byte by its number, so that nothing needs quoting."""
    return '"' + "".join(f"\\{byte:03d}" for byte in request) + '"'
