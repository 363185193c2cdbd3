"""The components that a ``twinkle-component.toml`` lists."""

from __future__ import annotations

import tomllib
from pathlib import Path

from twinkle.core.components import resolve
from twinkle.core.errors import InvalidConfig
from twinkle.testing.specimen import Specimen


def load_manifest(path: str | Path) -> list[Specimen]:
    """One specimen for each ``[[component]]`` of the manifest ``path``. No component is imported.

    Which keys a manifest may have is decided by whatever loads components from folders: each component is resolved as
    ``file:<folder>#<name>`` here, so that a manifest which could not be loaded cannot be tested either.

    Raises:
        InvalidConfig: there is no such file.
        ValueError: the manifest breaks a rule.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise InvalidConfig(f"{file}: there is no such manifest; give the path of a twinkle-component.toml")
    folder = file.parent
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{file} is no TOML file: {error}") from error
    listed = table.get("component", [])
    if not isinstance(listed, list) or not listed:
        raise InvalidConfig(f"{file}: expected one [[component]] or more")
    specimens = []
    for row in listed:
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str) or not isinstance(row.get("name"), str):
            raise InvalidConfig(f'{file}: expected kind = "..." and name = "..." in each [[component]], got {row!r}')
        ref = f"file:{folder}#{row['name']}"
        resolve(row["kind"], ref)
        specimens.append(
            Specimen(
                kind=row["kind"],
                name=row["name"],
                component=ref,
                dependencies=tuple(table["project"].get("dependencies", ())),
                params=row.get("params", {}),
                folder=folder,
            )
        )
    return specimens
