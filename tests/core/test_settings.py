"""Settings: what the environment and the project may say, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import pytest

from twinkle.core.errors import InvalidConfig
from twinkle.core.settings import Settings, process_rank


def load(environ: dict[str, str], project: Path) -> Settings:
    return Settings.load(environ=environ, project=project)


def test_an_empty_environment_gives_the_defaults(tmp_path: Path) -> None:
    assert load({}, tmp_path) == Settings()


def test_every_variable_reaches_its_field(tmp_path: Path) -> None:
    environ = {
        "TWINKLE_HOME": str(tmp_path / "home"),
        "TWINKLE_HUB_MIRROR": "~/mirror",
        "TWINKLE_PLUGINS": "a, b-c,",
        "TWINKLE_PLUGINS_STRICT": "Yes",
        "TWINKLE_OFFLINE": "1",
        "TWINKLE_LOCKED": "true",
        "TWINKLE_LOCK_TRUST": "project",
        "TWINKLE_TRUST_REMOTE_CODE": "0",
        "TWINKLE_TRUST": "ms://o/r@1#h1:a\n ms://o/s@2#h1:b",
        "TWINKLE_MODE": "ray",
        "TWINKLE_SEED": "7",
        "TWINKLE_FULL_DETERMINISM": "on",
        "TWINKLE_DEVICE": "cpu",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
    }
    settings = load(environ, tmp_path)
    assert settings.home == tmp_path / "home"
    assert settings.hub_mirror == Path.home() / "mirror"
    assert settings.plugins == {"a", "b-c"}
    assert settings.plugins_strict and settings.offline and settings.locked and settings.lock_trust_project and settings.full_determinism
    assert settings.trust_remote_code == "0"
    assert settings.trusted == ("ms://o/r@1#h1:a", "ms://o/s@2#h1:b")
    assert (settings.mode, settings.seed, settings.device) == ("ray", 7, "cpu")
    assert (settings.rank, settings.local_rank, settings.world_size) == (3, 1, 4)


@pytest.mark.parametrize(("text", "plugins"), [(None, None), ("", None), (" ", None), ("none", frozenset()), ("x", frozenset({"x"}))])
def test_unset_plugins_mean_all_and_none_means_none(text: str | None, plugins: frozenset[str] | None, tmp_path: Path) -> None:
    assert load({} if text is None else {"TWINKLE_PLUGINS": text}, tmp_path).plugins == plugins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWINKLE_OFFLINE", "maybe"),
        ("TWINKLE_SEED", "1.5"),
        ("RANK", "first"),
        ("TWINKLE_LOCK_TRUST", "yes"),
        ("TWINKLE_TRUST_REMOTE_CODE", "true"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_variable(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=f"{name}='{value}': expected"):
        load({name: value}, tmp_path)


def test_the_rank_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert process_rank() == -1
    monkeypatch.setenv("RANK", "5")
    assert process_rank() == 5


def test_the_project_overrides_a_component(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.twinkle.override]\n"loss:grpo" = "my_pkg/grpo"\n')
    assert load({}, tmp_path).overrides == {"loss:grpo": "my_pkg/grpo"}


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[tool.twinkle.override]\n"grpo" = "my_pkg/grpo"', '"kind:name" = "package/name"'),
        ('[tool.twinkle.override]\n"loss:grpo" = "grpo"', '"kind:name" = "package/name"'),
        ('[tool.twinkle.override]\n"loss:grpo" = "ms://o/r"', '"kind:name" = "package/name"'),
        ('[tool.twinkle.override]\n"loss:grpo" = 3', '"kind:name" = "package/name"'),
        ("[tool.twinkle.overide]", "Did you mean 'override'"),
        ("[tool]\ntwinkle = 3", "'twinkle' to be a table"),
        ("[tool.twinkle]\noverride = 3", "'override' to be a table"),
        ("[tool", "is no TOML file"),
    ],
)
def test_a_wrong_project_file_is_named(toml: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(toml)
    with pytest.raises(InvalidConfig) as error:
        load({}, tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(error.value) and says in str(error.value)


def test_settings_travel_to_workers() -> None:
    settings = Settings(overrides={"loss:grpo": "my_pkg/grpo"}, plugins=frozenset({"a"}))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_every_field_has_its_sentence() -> None:
    """The sentence stands below the field, so it is looked for in the source."""
    import inspect

    source = inspect.getsource(Settings)
    for field in fields(Settings):
        after = source.split(f"\n    {field.name}: ")[1].splitlines()
        assert after[1].strip().startswith('"""'), field.name
