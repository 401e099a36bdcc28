"""What the documents say exists: commands, configs, folders, names."""

import re
from importlib import import_module

import pytest
from places import ROOT

from dmae.cli import COMMANDS

DOCUMENTS = [
    "README.md",
    "model_card.md",
    "space/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_files_and_imports_exist(document):
    text = (ROOT / document).read_text()
    code = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text))
    for command in re.findall(r"\bdmae ([a-z][a-z-]*)\b", code):
        assert command in COMMANDS, f"{document}: dmae {command}"
    for path in re.findall(r"\b((?:training|benchmarks|retrieval|space|tests)/[\w./-]+\.\w+)", code):
        assert (ROOT / path).exists(), f"{document}: {path}"
    for module, names in re.findall(r"^from (dmae\.\S+) import (.+)$", code, re.M):
        for name in names.split(","):
            assert hasattr(import_module(module), name.strip()), f"{document}: {module}.{name}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_line_of_help_and_an_example(name):
    command = COMMANDS[name]
    module = import_module(f"dmae.{command.module}")
    assert callable(module.configure) and callable(module.run)
    assert command.help and "\n" not in command.help
    assert command.example.startswith(f"dmae {name}")


@pytest.mark.parametrize("module", ["modeling", "training", "retrieval", "space"])
def test_arrows_go_down_only(module):
    """design: space → retrieval → modeling, training → modeling."""
    allowed = {
        "modeling": set(),
        "training": {"modeling"},
        "retrieval": {"modeling"},
        "space": {"modeling", "retrieval"},
    }
    for path in (ROOT / module).rglob("*.py"):
        for found in re.findall(r"^\s*(?:from|import) dmae\.(\w+)", path.read_text(), re.M):
            assert found in allowed[module] | {module}, f"{path.relative_to(ROOT)} imports dmae.{found}"


def test_no_file_is_too_long_to_take_in():
    for path in [p for p in ROOT.rglob("*.py") if not {".venv", "build", "demo", "runs"} & set(p.parts)]:
        assert len(path.read_text().splitlines()) <= 500, path.relative_to(ROOT)
