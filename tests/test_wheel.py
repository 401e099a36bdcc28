"""An installed wheel: whole where links cannot be made, and complete for type checkers.

The checkout's links in dmae/ are for editors. A checkout on Windows has small text files in their place.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

FOLDERS = ("modeling", "training", "retrieval", "space")

SCRIPT = """\
from dmae import DmaeModel, VideoIndex, load_pretrained
from dmae.errors import DmaeError

model, processor = load_pretrained("me/my-model")
index = VideoIndex.open("clips.index", model, processor)
for hit in index.search("a dog on a skateboard", k=5):
    reveal_type(hit.id)
    reveal_type(hit.best_time)
    reveal_type(hit.moments)
    hit.nonsense
reveal_type(model)
reveal_type(model.to("cpu").eval())
reveal_type(DmaeModel.from_pretrained("me/my-model"))
reveal_type(processor(text="a dog"))
reveal_type(index.add("clips").added)
"""
REVEALED = [
    "str",
    "float | None",
    "tuple[Moment, ...]",
    "DmaeModel",
    "DmaeModel",
    "DmaeModel",
    "BatchFeature",
    "int",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that a wheel was unpacked into, made from a tree in which the links are text files."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in (*FOLDERS, "dmae"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FOLDERS:
        (tree / "dmae" / name).unlink()
        (tree / "dmae" / name).write_text(f"../{name}")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree]
    subprocess.run([sys.executable, *map(str, build)], check=True, timeout=200)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_holds_every_module_once(installed):
    packed = {path.relative_to(installed).as_posix() for path in (installed / "dmae").rglob("*") if path.is_file()}
    ours = {f"dmae/{path.name}" for path in (ROOT / "dmae").iterdir() if path.is_file()}
    for name in FOLDERS:
        files = [path for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".yaml", ".md", ".css", ".js")]
        ours |= {f"dmae/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert ours <= packed and "dmae/py.typed" in packed
    assert not any(path.endswith(tuple(f"dmae/{name}" for name in FOLDERS)) for path in packed)


def test_it_runs(installed, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from dmae import VideoIndex, DmaeConfig, cli; "
    code += "print(cli.__file__); print(sys.modules[VideoIndex.__module__].__file__)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(Path(line).is_relative_to(installed) for line in printed.stdout.split())


def test_a_users_script_knows_the_types(installed, tmp_path):
    pytest.importorskip("pyright")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(installed)], "include": ["script.py"]})
    )
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    reports = json.loads(found.stdout)["generalDiagnostics"]
    revealed = [r["message"].rpartition(' is "')[2].rstrip('"') for r in reports if r["severity"] == "information"]
    assert revealed == REVEALED
    errors = [report["message"] for report in reports if report["severity"] == "error"]
    assert len(errors) == 1 and "nonsense" in errors[0], errors
