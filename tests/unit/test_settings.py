"""The sources of settings, the values that stop the start, and the values that are shown."""

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import FieldInfo, replace

from service.errors import CommandError, WrongUsage
from service.model import Grouping
from service.settings import (
    FIELDS,
    FOR_TESTS_ONLY,
    Settings,
    as_environment,
    dump_settings,
    load_settings,
    meaning,
    variable,
)

SECRET = "s3cret"


def load(
    tmp_path: Path, *, overrides: dict[str, Any] | None = None, environ: dict[str, str] | None = None, dotenv: str = ""
) -> Settings:
    (tmp_path / ".env").write_text(dotenv)
    return load_settings(overrides, environ or {}, tmp_path / ".env")


def refusal(tmp_path: Path, **given: Any) -> str:
    with pytest.raises(CommandError) as caught:
        load(tmp_path, **given)
    return str(caught.value)


def dumped(**changes: Any) -> dict[str, str]:
    lines = dump_settings(replace(load_settings(None, {}, Path("/nonexistent/.env")), **changes)).splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(
    ("overrides", "environ", "dotenv", "port"),
    [
        ({"port": "1"}, {"QUEUESTATS_PORT": "2"}, "QUEUESTATS_PORT=3", 1),
        ({"port": None}, {"QUEUESTATS_PORT": "2"}, "QUEUESTATS_PORT=3", 2),
        ({}, {"OTHER": "x"}, "export QUEUESTATS_PORT='3' # three", 3),
        ({}, {}, "", 8080),
        ({}, {"QUEUESTATS_PORT": ""}, "", 8080),
        ({"port": 0}, {"QUEUESTATS_PORT": "2"}, "", 0),
    ],
)
def test_options_override_the_environment_which_overrides_the_file_which_overrides_defaults(
    tmp_path: Path, overrides: dict[str, Any], environ: dict[str, str], dotenv: str, port: int
) -> None:
    assert load(tmp_path, overrides=overrides, environ=environ, dotenv=dotenv).port == port


def test_the_file_is_the_one_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("QUEUESTATS_PORT=3\nOTHER=${HOME}\nQUEUESTATS_HOST=a$b${c}\n")
    monkeypatch.chdir(tmp_path)

    loaded = load_settings(environ={})
    assert loaded.port == 3
    assert loaded.host == "a$b${c}"


def test_the_environment_of_the_process_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUESTATS_PORT", "4")
    assert load_settings(dotenv_path=tmp_path / "none").port == 4


@pytest.mark.parametrize("where", ["environ", "dotenv"])
@pytest.mark.parametrize("text", ["", SECRET])
def test_an_unknown_variable_stops_the_start_with_its_name(tmp_path: Path, where: str, text: str) -> None:
    name = "QUEUESTATS_PROT"
    message = refusal(tmp_path, **{where: {name: text} if where == "environ" else f"{name}={text}\n"})

    assert name in message
    assert SECRET not in message


def test_the_tests_own_variables_are_known(tmp_path: Path) -> None:
    load(tmp_path, environ=dict.fromkeys(FOR_TESTS_ONLY, "x"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("QUEUESTATS_PORT", "http"),
        ("QUEUESTATS_PORT", "65536"),
        ("QUEUESTATS_PORT", "-1"),
        ("QUEUESTATS_PORT", "8_0"),
        ("QUEUESTATS_PORT", "1e3"),
        ("QUEUESTATS_PORT", "80.0"),
        ("QUEUESTATS_PORT", "+80"),
        ("QUEUESTATS_PORT", "null"),
        ("QUEUESTATS_PORT", "٨٠"),
        ("QUEUESTATS_PORT", "9" * 5000),
        ("QUEUESTATS_WORKERS", "0"),
        ("QUEUESTATS_DEFAULT_GROUP", "TOTAL"),
        ("QUEUESTATS_ERROR_HTTP_STATUS", "201"),
        ("QUEUESTATS_LOG_LEVEL", "loud"),
        ("QUEUESTATS_TRACES", "true"),
        ("QUEUESTATS_PREPARED_STATEMENTS", "0"),
        ("QUEUESTATS_DATABASE_URL", "null"),
        ("QUEUESTATS_MESSAGES_SCHEMA", "Mail"),
        ("QUEUESTATS_DATABASE_URL", f"mysql://me:{SECRET}@host/db"),
        ("QUEUESTATS_DATABASE_URL", f"postgresql+asyncpg://me:{SECRET}@host/db"),
        ("QUEUESTATS_DATABASE_URL", f"me:{SECRET}@host/db"),
        ("QUEUESTATS_DATABASE_URL", f"postgresql://me:{SECRET}/x@host/db"),
        ("QUEUESTATS_DATABASE_URL", f"postgresql://me:{SECRET}@[::1/db"),
        ("QUEUESTATS_DATABASE_URL", f"postgresql://me:{SECRET}@host:port/db"),
        ("QUEUESTATS_ADMIN_DATABASE_URL", f"postgresql://me:{SECRET}@ho℀st:{SECRET}/db"),
    ],
)
def test_the_error_for_a_wrong_value_names_the_variable_and_valid_values_but_not_the_value(
    tmp_path: Path, name: str, text: str
) -> None:
    message = refusal(tmp_path, environ={name: text})

    assert message.startswith(f"{name} must be ")
    wanted = ("a whole number from", "one of ", "a postgresql://", "a name of up to 63")
    assert any(f"must be {start}" in message for start in wanted)
    assert text not in message
    assert SECRET not in message


def test_a_whole_number_may_have_leading_zeros(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"QUEUESTATS_PORT": "007"}).port == 7


def test_the_schema_of_messages_cannot_be_queuestats(tmp_path: Path) -> None:
    assert "and not queuestats" in refusal(tmp_path, environ={"QUEUESTATS_MESSAGES_SCHEMA": "queuestats"})
    assert load(tmp_path, environ={"QUEUESTATS_MESSAGES_SCHEMA": "queuestats_"}).messages_schema == "queuestats_"


def test_settings_that_are_on_or_off_are_booleans(tmp_path: Path) -> None:
    given = {"QUEUESTATS_TRACES": " on ", "QUEUESTATS_PREPARED_STATEMENTS": "off"}
    settings = load(tmp_path, environ=given)

    assert (settings.has_traces, settings.has_prepared_statements) == (True, False)
    assert {name: as_environment(settings)[name] for name in given} == {**given, "QUEUESTATS_TRACES": "on"}
    assert {name: dumped()[name] for name in given} == {
        "QUEUESTATS_TRACES": "off",
        "QUEUESTATS_PREPARED_STATEMENTS": "on",
    }


def test_a_wrong_option_is_named_as_an_option(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"^--port must be a whole number from 0 to 65535\.$"):
        load(tmp_path, overrides={"port": SECRET})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host:5432/db",
        "postgres://host/db",
        "postgresql://me@/db?host=/run/postgresql&port=5432",
        "postgresql:///db",
        "postgresql://me:p%40ss@a:5432,b:5433/db?target_session_attrs=read-write&sslmode=require",
        "postgresql://me:p%40ss:word@[::1]:5432/db",
    ],
)
def test_a_valid_address_is_used_unchanged(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, environ={"QUEUESTATS_DATABASE_URL": f" {url}\n"}).database_url == url


@pytest.mark.parametrize("user", ["u:1@2", "u:1#2", "u:1/2", "u:1?2", "u@t:1"])
def test_an_address_with_an_unencoded_character_is_refused_and_the_error_names_it(tmp_path: Path, user: str) -> None:
    said = r"^QUEUESTATS_DATABASE_URL must be .*%40 for @, %23 for #, %2F for /, %3F for \?\.$"
    with pytest.raises(CommandError, match=said) as refusal:
        load(tmp_path, environ={"QUEUESTATS_DATABASE_URL": f"postgresql://{user}@host/db"})
    assert user not in str(refusal.value)


def test_a_file_that_cannot_be_parsed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"QUEUESTATS_HOST=\xff\n")
    with pytest.raises(CommandError, match=r"\.env can't be read: it is not UTF-8"):
        load_settings(None, {}, tmp_path / ".env")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(mode=0o000)
    with pytest.raises(CommandError, match=r"\.env can't be read: Permission denied"):
        load_settings(None, {}, tmp_path / ".env")


def test_the_default_of_the_address_of_the_owner_is_that_of_the_service(tmp_path: Path) -> None:
    one = load(tmp_path, environ={"QUEUESTATS_DATABASE_URL": "postgresql://a/db"})
    both = load(tmp_path, environ=as_environment(one) | {"QUEUESTATS_ADMIN_DATABASE_URL": "postgresql://b/db"})

    assert one.owner_url == "postgresql://a/db"
    assert both.owner_url == "postgresql://b/db"
    assert load(tmp_path).owner_url is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://me:{SECRET}@host:5432/db?sslmode=require", "postgresql://me:***@host:5432/db?sslmode=require"),
        (f"postgresql://:{SECRET}@host/db", "postgresql://:***@host/db"),
        (f"postgresql://me:x%40{SECRET}@a,b/db", "postgresql://me:***@a,b/db"),
        (f"postgresql://me:p@{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"postgresql://me:p/{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"postgresql://me:p#?{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"postgresql:///db?user=me&password={SECRET}&port=1", "postgresql:///db?user=me&password=***&port=1"),
        (f"postgresql:///db?p%61ssword={SECRET}", "postgresql:///db?p%61ssword=***"),
        (f"postgresql:///db?sslpassword={SECRET}", "postgresql:///db?sslpassword=***"),
        ("postgresql://me@/db?host=/run/x&port=5432", "postgresql://me@/db?host=/run/x&port=5432"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
    ],
)
def test_the_dump_masks_a_password_at_any_place_and_nothing_else(url: str, shown: str) -> None:
    assert dumped(database_url=url)["QUEUESTATS_DATABASE_URL"] == shown
    assert dumped(admin_database_url=url)["QUEUESTATS_ADMIN_DATABASE_URL"] == shown


def test_the_dump_has_every_setting_with_its_current_value() -> None:
    shown = dumped(port=1, default_group=Grouping.ISP, data_dir=Path("/data"))

    assert list(shown) == [variable(field.encode_name) for field in FIELDS]
    assert (shown["QUEUESTATS_PORT"], shown["QUEUESTATS_DEFAULT_GROUP"]) == ("1", "isp")
    assert (shown["QUEUESTATS_DATA_DIR"], shown["QUEUESTATS_DATABASE_URL"]) == ("/data", "")


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        overrides={"port": 0, "default_group": "isp", "data_dir": tmp_path / "with blank"},
        environ={"QUEUESTATS_DATABASE_URL": f"postgresql://me:{SECRET}@host/db", "QUEUESTATS_WORKERS": "3"},
    )
    assert load(tmp_path, environ=as_environment(settings), dotenv="QUEUESTATS_PORT=9\n") == settings


@pytest.mark.parametrize("setting", FIELDS, ids=lambda setting: setting.name)
def test_every_setting_has_a_meaning_and_durations_and_sizes_have_a_unit(setting: FieldInfo) -> None:
    assert meaning(setting.name)
    if "timeout" in setting.name or "time_limit" in setting.name or "wait" in meaning(setting.name).split()[:2]:
        assert setting.name.endswith("_ms")
