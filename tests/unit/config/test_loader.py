"""The settings: where they come from, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clew import config
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "postgresql://u:hunter2@h/d"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take every setting of the surroundings away; the working directory is an empty one."""
    for name in [name for name in os.environ if name.startswith("CLEW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield  # noqa: PT022 - undone behind the test


def test_without_any_setting_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is named after the program, the data lie in the user's directory."""
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setattr(sys, "argv", ["/srv/rag_api.py"])

    settings = config.load()

    assert (settings.service, settings.agent, settings.level, settings.dsn) == ("rag_api", "auto", "DEBUG", None)
    assert (settings.data_dir, settings.spool_dir) == (Path("/data/clew"), Path("/data/clew/spool"))


@pytest.mark.parametrize("argv", [[], [""], ["-c"], ["-m"], ["/app/__main__.py"]])
def test_a_program_without_a_name_is_called_python(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Every event names some service."""
    monkeypatch.setattr(sys, "argv", argv)

    assert config.load().service == "python"


def test_the_nearest_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments beat the environment, which beats the file, which beats the defaults."""
    (tmp_path / "clew.toml").write_text('service = "file"\nversion = "file"\nenvironment = "file"\n')
    monkeypatch.setenv("CLEW_SERVICE", "env")
    monkeypatch.setenv("CLEW_VERSION", "env")

    settings = config.load(service="argument", environment=None)

    assert (settings.service, settings.version, settings.environment) == ("argument", "env", "file")


def test_the_environment_is_read_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, booleans and lists are written as text; an empty variable is none."""
    monkeypatch.setenv("CLEW_PORT", "5000")
    monkeypatch.setenv("CLEW_CAPTURE", "false")
    monkeypatch.setenv("CLEW_REDACT", "pin, iban ,")
    monkeypatch.setenv("CLEW_LEVEL", "warning")
    monkeypatch.setenv("CLEW_DSN", "")

    settings = config.load()

    assert (settings.port, settings.capture, settings.level, settings.dsn) == (5000, False, "WARNING", None)
    assert settings.redact == ("pin", "iban")


def test_the_file_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``CLEW_CONFIG`` names it."""
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text('redact = ["pin"]\nflush_interval_s = 0.5\n')
    monkeypatch.setenv("CLEW_CONFIG", str(elsewhere))

    settings = config.load()

    assert (settings.redact, settings.flush_interval_s) == (("pin",), 0.5)


def test_directories_are_absolute_and_the_spool_may_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path counts from here, ``~`` is the user's home."""
    monkeypatch.setenv("HOME", "/home/someone")

    settings = config.load(data_dir="data", spool_dir="~/spool")

    assert (settings.data_dir, settings.spool_dir) == (tmp_path / "data", Path("/home/someone/spool"))


def test_the_data_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CLEW_DATA_DIR``, else XDG's, else the home's."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert config.data_dir() == Path("/home/someone/.local/share/clew")

    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert config.data_dir() == Path("/xdg/clew")

    monkeypatch.setenv("CLEW_DATA_DIR", "/elsewhere")
    assert config.data_dir() == Path("/elsewhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "LOUD"), ("agent", "none"), ("port", "abc"), ("port", 70000), ("port", -1), ("data_dir", 5),
     ("data_dir", "a\0b"), ("data_dir", "~nobody-of-this-name/x"), ("spool_dir", 5), ("segment_bytes", 1),
     ("max_event_bytes", 1), ("max_field_bytes", 1), ("spool_max_bytes", -1), ("flush_interval_s", 0),
     ("flush_interval_s", float("nan")), ("propagate", ["fibres"]), ("propagate", "threads"), ("redact", [1]),
     ("service", 5), ("capture", "perhaps")],
)  # fmt: skip
def test_a_bad_value_is_named_with_its_setting_and_its_source(name: str, value: Any) -> None:
    """Setting, value and where it was given stand in one line."""
    with pytest.raises(ConfigError) as refused:
        config.load(**{name: value})

    line = str(refused.value)
    assert f"the setting {name} is {value!r} (from configure)" in line
    assert "\n" not in line


def test_a_bad_value_of_the_environment_or_of_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is what the reader has to mend."""
    (tmp_path / "clew.toml").write_text('port = "many"\n')
    with pytest.raises(ConfigError, match=r"the setting port is 'many' \(from clew.toml\)"):
        config.load()

    monkeypatch.setenv("CLEW_PORT", "more")
    with pytest.raises(ConfigError, match=r"the setting port is 'more' \(from the environment\)"):
        config.load()


def test_a_choice_is_hinted_at() -> None:
    """What could be meant is listed."""
    with pytest.raises(ConfigError, match="use one of DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        config.load(level="loud")


@pytest.mark.parametrize(("name", "value"), [("dsn", 5), ("token", ["hunter2"])])
def test_a_bad_secret_is_not_repeated(name: str, value: Any) -> None:
    """The line names the setting and keeps its value."""
    with pytest.raises(ConfigError) as refused:
        config.load(**{name: value})

    assert f"the setting {name} is … (from configure)" in str(refused.value)


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    """A misspelt name is an error in an argument and in the file; the known ones are listed."""
    with pytest.raises(ConfigError, match="no setting 'servce'; the settings are service,"):
        config.load(servce="x")

    (tmp_path / "clew.toml").write_text('servce = "x"\n')
    with pytest.raises(ConfigError, match=r"clew\.toml names a setting 'servce' that does not exist"):
        config.load()


def test_one_file_serves_every_process(tmp_path: Path) -> None:
    """What only alerts read may be in the file that an application reads, and the other way round."""
    (tmp_path / "clew.toml").write_text('service = "file"\nalerts_interval_s = 60\n')

    assert config.load().service == "file"
    assert config.load_alerts().alerts_interval_s == 60


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not TOML, not a file."""
    (tmp_path / "clew.toml").write_text("service = rag\n")
    with pytest.raises(ConfigError, match=r"clew\.toml is not valid TOML"):
        config.load()

    (tmp_path / "clew.toml").write_bytes(b'service = "\xff"\n')
    with pytest.raises(ConfigError, match=r"clew\.toml is not valid TOML"):
        config.load()

    monkeypatch.setenv("CLEW_CONFIG", str(tmp_path))
    with pytest.raises(ConfigError, match="cannot read"):
        config.load()


def test_secrets_are_never_shown() -> None:
    """Neither by ``repr`` nor by rich."""
    settings = config.load(dsn=SECRET, token="hunter2")

    assert "hunter2" not in f"{settings!r} {settings} {settings.__rich_repr__()}"
    assert (settings.dsn, settings.token) == (SECRET, "hunter2")
