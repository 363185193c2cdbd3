"""Components of a folder or a single file: found, hashed, imported from memory."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import twinkle
from twinkle.core.errors import AmbiguousComponent, BrokenComponent, HubUnavailable
from twinkle.hub_loader.errors import ForbiddenFile, InvalidManifest, NoComponent, Tampered, UntrustedComponent
from twinkle.hub_loader.loader import ComponentFinder
from twinkle.hub_loader.tree import ComponentTree

from .conftest import LOSS, WriteFiles, manifest


def test_a_single_file_gives_its_named_class(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"my_loss.py": LOSS.format(answer=7)})
    resolved = twinkle.resolve("loss", f"file:{folder}/my_loss.py#MyLoss")
    assert (resolved.origin, resolved.trust, resolved.entry) == ("file", "local", "my_loss:MyLoss")
    assert resolved.cls()(None, None) == 7


def test_a_relative_path_and_a_function_work(write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_files("mine", {"my_loss.py": "def half(inputs, outputs):\n    return 0.5\n"}))
    assert twinkle.build("loss", "file:./my_loss.py#half")(None, None) == 0.5


def test_resolving_imports_nothing(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": "raise RuntimeError('imported')"})
    assert twinkle.resolve("loss", f"file:{folder}").entry == "__init__:*"
    assert not [name for name in sys.modules if name.startswith("twinkle_components.")]


def test_h1_is_what_the_documented_shell_line_prints(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": LOSS, "z/a.py": "", "Z.py": "x = 1", "a-b.json": "{}"})
    recipe = r"find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    printed = subprocess.run(["bash", "-c", recipe], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert twinkle.resolve("loss", f"file:{folder}").h1 == "h1:" + printed.split()[0]


def test_prose_and_tests_do_not_change_the_digest() -> None:
    code = {"__init__.py": b"x = 1"}
    more = {
        **code,
        "README.md": b"read",
        "README_zh.md": b"",
        "LICENSE": b"",
        ".gitattributes": b"",
        "docs/a.md": b"",
        "tests/test_a.py": b"",
    }
    assert ComponentTree.of(more).h1 == ComponentTree.of(code).h1
    assert set(ComponentTree.of(more).files) == {"__init__.py"}
    assert ComponentTree.of({**code, "sub/README.md": b""}).h1 != ComponentTree.of(code).h1


def test_manifest_picks_by_kind_and_name(write_files: WriteFiles) -> None:
    files = {
        "twinkle-component.toml": manifest("loss one losses:OneLoss", "loss two losses:TwoLoss", "reward r rewards.plain:R"),
        "losses.py": LOSS.format(answer=1).replace("MyLoss", "OneLoss") + LOSS.format(answer=2).replace("MyLoss", "TwoLoss"),
        "rewards/plain.py": "class R:\n    def __call__(self, trajectories): return [3.0]\n",
    }
    folder = write_files("mine", files)
    assert twinkle.build("loss", f"file:{folder}#two")(None, None) == 2
    assert twinkle.build("loss", f"file:{folder}#OneLoss")(None, None) == 1
    assert twinkle.build("reward", f"file:{folder}")([]) == [3.0]
    with pytest.raises(AmbiguousComponent, match="'#one' or '#two'"):
        twinkle.resolve("loss", f"file:{folder}")
    with pytest.raises(NoComponent, match="Did you mean 'two'"):
        twinkle.resolve("loss", f"file:{folder}#twoo")
    with pytest.raises(NoComponent, match=r"has no metric\. It has: loss one"):
        twinkle.resolve("metric", f"file:{folder}")


def test_older_layout_takes_the_only_class_defined_in_the_tree(write_files: WriteFiles) -> None:
    files = {
        "__init__.py": "from collections import OrderedDict\nfrom .impl import MyLoss\nfrom ._other import helper\n",
        "impl.py": "from ._other import helper\n" + LOSS.format(answer="helper()"),
        "_other.py": "def helper(): return 5\n",
    }
    folder = write_files("mine", files)
    assert twinkle.build("loss", f"file:{folder}")(None, None) == 5


def test_older_layout_with_two_or_no_classes_says_so(write_files: WriteFiles) -> None:
    two = write_files("two", {"__init__.py": LOSS.format(answer=1) + LOSS.format(answer=2).replace("MyLoss", "ZLoss")})
    with pytest.raises(AmbiguousComponent, match="'#MyLoss' or '#ZLoss'"):
        _ = twinkle.resolve("loss", f"file:{two}").cls
    assert twinkle.build("loss", f"file:{two}#ZLoss")(None, None) == 2
    none = write_files("none", {"__init__.py": "from collections import Counter\n"})
    with pytest.raises(NoComponent, match="defines no loss"):
        _ = twinkle.resolve("loss", f"file:{none}").cls
    empty = write_files("empty", {"impl.py": ""})
    with pytest.raises(NoComponent, match=r"expected twinkle-component\.toml, or an __init__\.py"):
        twinkle.resolve("loss", f"file:{empty}")


def test_subclasses_of_the_contract_come_before_look_alikes(write_files: WriteFiles) -> None:
    text = "from twinkle.core.contracts.loss import Loss\nclass Helper:\n    def __call__(self): ...\n" + LOSS.replace(
        "MyLoss", "MyLoss(Loss)"
    )
    assert twinkle.resolve("loss", f"file:{write_files('mine', {'__init__.py': text})}").cls.__name__ == "MyLoss"


def test_two_versions_live_side_by_side(write_files: WriteFiles) -> None:
    refs = [f"file:{write_files(f'v{i}', {'__init__.py': LOSS.format(answer=i)})}" for i in (1, 2)]
    first, second = (twinkle.resolve("loss", ref).cls for ref in refs)
    assert (first()(None, None), second()(None, None)) == (1, 2)
    assert first.__module__ != second.__module__


def test_source_and_traceback_show_the_bytes_that_ran(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"my_loss.py": "class MyLoss:\n    def __call__(self, a, b):\n        raise ValueError('boom')\n"})
    cls = twinkle.resolve("loss", f"file:{folder}/my_loss.py#MyLoss").cls
    (folder / "my_loss.py").write_text("# something else by now\n" * 3)
    assert "raise ValueError('boom')" in inspect.getsource(cls)
    with pytest.raises(ValueError, match="boom") as caught:
        cls()(None, None)
    shown = "".join(traceback.format_exception(caught.value))
    assert "raise ValueError('boom')" in shown
    assert str(folder / "my_loss.py") in shown


def test_loading_leaves_the_import_system_as_it_was(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": "import json\n" + LOSS.format(answer=1)})
    twinkle.resolve("loss", "cross_entropy")
    path, before = list(sys.path), set(sys.modules)
    _ = twinkle.resolve("loss", f"file:{folder}").cls
    assert sys.path == path
    assert all(name.startswith("twinkle") for name in set(sys.modules) - before)
    assert sorted(p.name for p in folder.rglob("*")) == ["__init__.py"]


def test_failed_import_leaves_nothing_behind(write_files: WriteFiles) -> None:
    text = "import sys\nfrom . import ok\nsys.path.insert(0, '/nowhere')\nsys.meta_path.append(object())\n1 / 0\n"
    folder = write_files("mine", {"__init__.py": text, "ok.py": ""})
    resolved = twinkle.resolve("loss", f"file:{folder}")
    twinkle.resolve("loss", "cross_entropy")
    path = list(sys.path)
    with pytest.raises(BrokenComponent, match="ZeroDivisionError"):
        _ = resolved.cls
    assert sys.path == path
    assert not [n for n in sys.modules if n.startswith("twinkle_components.")]
    assert type(sys.meta_path[-1]) is ComponentFinder


def test_exit_at_import_is_a_broken_component(write_files: WriteFiles) -> None:
    with pytest.raises(BrokenComponent, match="SystemExit"):
        _ = twinkle.resolve("loss", f"file:{write_files('mine', {'__init__.py': 'raise SystemExit(3)'})}").cls


def test_absolute_import_of_a_sibling_is_told_how_to_write(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": "import impl\n", "impl.py": ""})
    with pytest.raises(BrokenComponent, match=r"from \. import impl"):
        _ = twinkle.resolve("loss", f"file:{folder}").cls


def test_instances_pickle_in_the_process_that_approved_them(write_files: WriteFiles) -> None:
    loss = twinkle.build("loss", f"file:{write_files('mine', {'__init__.py': LOSS.format(answer=4)})}")
    assert pickle.loads(pickle.dumps(loss))(None, None) == 4


def test_a_process_that_did_not_approve_refuses_to_unpickle(write_files: WriteFiles) -> None:
    data = pickle.dumps(twinkle.build("loss", f"file:{write_files('mine', {'__init__.py': LOSS.format(answer=4)})}"))
    code = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"UntrustedComponent: twinkle_components.c_" in done.stderr


def test_files_that_changed_after_resolving_are_refused(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1)})
    resolved = twinkle.resolve("loss", f"file:{folder}")
    write_files("mine", {"__init__.py": LOSS.format(answer=2)})
    with pytest.raises(Tampered, match="changed since it was resolved"):
        _ = resolved.cls
    assert twinkle.build("loss", f"file:{folder}")(None, None) == 2


@pytest.mark.parametrize("path", [".", "sub", "sub/impl.py"])
def test_what_others_can_write_does_not_run(write_files: WriteFiles, path: str) -> None:
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1), "sub/impl.py": ""})
    os.chmod(folder, 0o755)
    os.chmod(folder / path, 0o777)
    with pytest.raises(UntrustedComponent, match="chmod -R go-w"):
        twinkle.resolve("loss", f"file:{folder}")


def test_a_folder_that_only_its_owner_can_enter_needs_no_look_inside(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1)})
    os.chmod(folder / "__init__.py", 0o666)
    os.chmod(folder, 0o700)
    assert twinkle.build("loss", f"file:{folder}")(None, None) == 1


def test_links_are_refused_and_caches_ignored(write_files: WriteFiles, tmp_path: Path) -> None:
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1), "__pycache__/x.pyc": "", ".git/config": "", ".venv/a.pyc": ""})
    h1 = twinkle.resolve("loss", f"file:{folder}").h1
    assert h1 == twinkle.resolve("loss", f"file:{write_files('plain', {'__init__.py': LOSS.format(answer=1)})}").h1
    (folder / "more.py").symlink_to("/etc/passwd")
    with pytest.raises(ForbiddenFile, match="links are no part"):
        twinkle.resolve("loss", f"file:{folder}")


@pytest.mark.parametrize("name", ["a.pyc", "m.pkl", "w.pt", "w.bin", "x.so", "p.pth", "z.zip", "a b.py", "q'.py", "c:d.py"])
def test_forbidden_files_are_refused(write_files: WriteFiles, name: str) -> None:
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1), name: ""})
    with pytest.raises(ForbiddenFile, match=r"^path "):
        twinkle.resolve("loss", f"file:{folder}")


def test_nothing_there_is_a_clear_error() -> None:
    with pytest.raises(HubUnavailable, match="found nothing"):
        twinkle.resolve("loss", "file:./not_there")


def test_an_entry_cannot_name_somebody_elses_callable(write_files: WriteFiles) -> None:
    with pytest.raises(InvalidManifest, match=r"there is no os\.py"):
        twinkle.resolve("loss", f"file:{write_files('a', {'twinkle-component.toml': manifest('loss x os:system')})}")
    files = {"twinkle-component.toml": manifest("loss x impl:system"), "impl.py": "from os import system\n"}
    with pytest.raises(NoComponent, match="no class or function that is defined there"):
        _ = twinkle.resolve("loss", f"file:{write_files('b', files)}").cls
