"""A real nginx in front of the service, with the documented configuration; and a recorder of responses."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.clusters import free_port
from tests.servers import scratch_folder

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "docs" / "nginx.conf"
# On Debian, only root's PATH has its folder.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
_TEMPORARY = "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


@contextmanager
def nginx_before(*services: int, certificate: Path | None = None, **limits: str) -> Iterator[int]:
    """The port of nginx. `services` are one or two ports behind it; `limits` are directives of the file, by name."""
    port = free_port()
    with scratch_folder() as folder:
        (folder / "nginx.conf").write_text(_adapted(port, services, certificate, limits))
        arguments = ["-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off; pid nginx.pid;"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([str(NGINX), *arguments], stdout=log, stderr=log)
        try:
            _wait_for(folder / "nginx.pid", process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _adapted(port: int, services: tuple[int, ...], certificate: Path | None, limits: dict[str, str]) -> str:
    """The documented file with other numbers. Without a certificate it uses plain HTTP."""
    text = CONFIGURATION.read_text().replace("http {", "http {" + _TEMPORARY, 1)
    text = _with(text, "listen", f"127.0.0.1:{port} ssl" if certificate else f"127.0.0.1:{port}")
    for service in (services * 2)[:2]:
        text = text.replace("server service:8080", f"server 127.0.0.1:{service}", 1)
    if certificate:
        text = _with(text, "ssl_certificate", str(certificate / "certificate.pem"))
        text = _with(text, "ssl_certificate_key", str(certificate / "key.pem"))
    else:
        text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
    for directive, value in limits.items():
        text = _with(text, directive, value)
    return text


def _with(text: str, directive: str, value: str) -> str:
    changed, count = re.subn(rf"^( *{directive}) [^;]*;", rf"\1 {value};", text, flags=re.MULTILINE)
    assert count == 1, directive
    return changed


def _wait_for(pid_file: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits for the file, which nginx writes when it listens."""
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert process.poll() is None, (pid_file.parent / "log").read_text()
        time.sleep(0.01)


@dataclass
class Relay:
    """A server between nginx and the service that records the responses of the service."""

    port: int
    answers: list[bytes] = field(default_factory=list)

    def count(self) -> int:
        """The number of requests that reached the service, which responds to every request."""
        return sum(len(re.findall(rb"HTTP/1\.1 \d{3} ", each)) for each in self.answers)


@asynccontextmanager
async def relay_to(service: int) -> AsyncIterator[Relay]:
    carrying: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", service)
        place = len(relay.answers)
        relay.answers.append(b"")

        async def there() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.close()

        async def back() -> None:
            while data := await far_reader.read(65536):
                relay.answers[place] += data
                writer.write(data)
            writer.close()

        await asyncio.gather(there(), back())

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(carry(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    relay = Relay(server.sockets[0].getsockname()[1])
    try:
        yield relay
    finally:
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
