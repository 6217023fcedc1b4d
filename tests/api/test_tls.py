"""A database that accepts only TLS. Its address contains how the server is verified."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.access.admin import create_token
from service.db import connect
from service.errors import CommandError
from service.http.server.sockets import check_tls
from service.model import Format
from service.schema import migrate
from service.settings import Settings
from tests.api.wire import STATS, body_of, check_error, client_of, serving
from tests.clusters import Cluster, free_port, running
from tests.servers import scratch_folder


def with_tls() -> Path | None:
    """The programs of an installed PostgreSQL with TLS. The embedded one has no TLS."""
    for postgres in sorted(Path("/usr").glob("lib/postgresql/*/bin/postgres")) + sorted(
        Path("/usr").glob("pgsql-*/bin/postgres")
    ):
        config = subprocess.run(
            [postgres.with_name("pg_config"), "--configure"], capture_output=True, encoding="utf-8", check=False
        )
        if "openssl" in config.stdout:
            return postgres.parent
    return None


BINARIES = with_tls()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARIES is None, reason="there is no installed PostgreSQL that was built with TLS"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to create a certificate"),
]


@dataclass(frozen=True)
class Server:
    """A server whose port accepts only TLS. Its `certificate` is only for the name localhost."""

    cluster: Cluster
    certificate: Path
    stranger: Path

    def url(self, user: str, **parameters: object) -> str:
        host = parameters.pop("host", "localhost")
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{user}@{host}:{self.cluster.port}/postgres?{query}"

    def verified(self, user: str) -> str:
        return self.url(user, sslmode="verify-full", sslrootcert=self.certificate)


@pytest.fixture
def server() -> Iterator[Server]:
    assert BINARIES is not None
    with scratch_folder() as folder:
        cluster = Cluster(BINARIES, folder / "data", free_port())
        cluster.initialise()
        key, certificate = make_certificate(cluster.folder, "server")
        for path in (key, certificate):
            cluster.hand_over(path)
        access = cluster.folder / "pg_hba.conf"
        access.write_text("local all all trust\nhostssl all all all trust\n")
        # Other users cannot read the folder of the cluster. A certificate is not secret.
        shown = Path(shutil.copy(certificate, folder / "root.crt"))
        _, stranger = make_certificate(folder, "stranger")
        settings = {"listen_addresses": "localhost", "ssl": "on", "ssl_key_file": key, "ssl_cert_file": certificate}
        with running(cluster, {name: str(value) for name, value in settings.items()}):
            yield Server(cluster, shown, stranger)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A key and a self-signed certificate."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject)
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o600)
    return key, certificate


async def test_migrate_and_queries_use_tls_with_a_verified_server(server: Server) -> None:
    owner_url, service_url = server.verified("postgres"), server.verified("queuestats_service")
    await migrate(owner_url, service_url)
    token = await create_token(owner_url, "tests")
    async with serving(Settings(database_url=service_url, data_dir=Path("/none"))) as url, client_of(url) as client:
        response = await client.post(STATS, content=body_of(Format.JSON, token=token, id=119))
        connection = await asyncpg.connect(server.cluster.url)
        encrypted = await connection.fetch(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'queuestats_service'"
        )
        await connection.close()
    assert response.status_code == 200
    assert encrypted
    assert all(row["ssl"] for row in encrypted)


async def test_a_server_that_can_not_be_verified_or_refuses_plain_connections_is_unavailable(
    server: Server,
) -> None:
    for wrong in (
        server.url("postgres", sslmode="disable"),
        server.url("postgres", sslmode="verify-full", sslrootcert=server.stranger),
        server.url("postgres", sslmode="verify-ca", sslrootcert=server.stranger),
        # The certificate is valid, but for another name.
        server.url("postgres", sslmode="verify-full", sslrootcert=server.certificate, host="127.0.0.1"),
    ):
        with pytest.raises(CommandError, match=r"^The database (can't be reached|refuses the login)"):
            async with connect(wrong):
                pass
        async with serving(Settings(database_url=wrong, data_dir=Path("/none"))) as url, client_of(url) as client:
            check_error(await client.get("/readyz"), 503, Format.JSON)
    async with connect(server.url("postgres", sslmode="require")) as unverified:
        assert await unverified.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def test_the_service_uses_tls_if_it_has_a_certificate(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path, "service")
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        data_dir=Path("/none"),
        tls_certificate=certificate,
        tls_key=key,
    )
    async with serving(settings) as url:
        assert url.startswith("https://127.0.0.1:")
        named = url.replace("127.0.0.1", "localhost")
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(base_url=named, verify=trusting, trust_env=False) as client:
            assert (await client.get("/healthz")).json() == {"status": "alive"}
        _, stranger = make_certificate(tmp_path, "stranger")
        distrusting = ssl.create_default_context(cafile=str(stranger))
        async with httpx.AsyncClient(base_url=named, verify=distrusting, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/healthz")


def test_a_missing_setting_a_missing_file_and_a_wrong_key_are_refused_in_one_sentence(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path, "service")
    other_key, _ = make_certificate(tmp_path, "other")
    for options, words in (
        ((certificate, None), "Set both QUEUESTATS_TLS_CERTIFICATE"),
        ((certificate, tmp_path / "none"), "can't be read"),
        ((certificate, other_key), "are not a certificate and its key"),
    ):
        settings = Settings(data_dir=Path("/none"), tls_certificate=options[0], tls_key=options[1])
        with pytest.raises(CommandError, match=words):
            check_tls(settings)
    check_tls(Settings(data_dir=Path("/none"), tls_certificate=certificate, tls_key=key))
