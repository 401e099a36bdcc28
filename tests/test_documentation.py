"""What the documents say exists: commands, configs, folders, names."""

import ast
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
    for command in re.findall(r"(?<!from )\bdmae ([a-z][a-z-]*)\b", code):
        assert command in COMMANDS, f"{document}: dmae {command}"
    for path in re.findall(r"\b((?:training|benchmarks|retrieval|space|tests)/[\w./-]+\.\w+)", code):
        assert (ROOT / path).exists(), f"{document}: {path}"
    for module, names in re.findall(r"^from (dmae\S*) import (.+)$", code, re.M):
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


RETRIEVAL_ARROWS = {
    "storage": {"storage"},
    "indexing": {"storage", "indexing"},
    "search": {"storage", "search"},
    "duplicates": {"storage", "search", "duplicates"},
    "sharing": {"storage", "search", "sharing"},
}


@pytest.mark.parametrize("folder", sorted(RETRIEVAL_ARROWS))
def test_nothing_below_the_facade_knows_it(folder):
    """What an index is made of takes the table, the model and the processor that it uses, never the index."""
    for path in (ROOT / "retrieval" / folder).glob("*.py"):
        text = path.read_text()
        for found in re.findall(r"^\s*from \.\.(\w+)[.\w]* import", text, re.M):
            is_folder = (ROOT / "retrieval" / found).is_dir()
            assert found in RETRIEVAL_ARROWS[folder] if is_folder else found != "index", f"{path.name} imports {found}"
        for function in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]:
            assert "index" not in {argument.arg for argument in function.args.args}, f"{path.name}: {function.name}"


def test_the_space_uses_public_names_only():
    for path in (ROOT / "space").glob("*.py"):
        for module in re.findall(r"^\s*from (dmae\.\S+) import", path.read_text(), re.M):
            assert module in {"dmae.modeling", "dmae.retrieval"} or module.startswith("dmae.space"), path.name


def test_no_file_is_too_long_to_take_in():
    for path in [p for p in ROOT.rglob("*.py") if not {".venv", "build", "demo", "runs"} & set(p.parts)]:
        assert len(path.read_text().splitlines()) <= 500, path.relative_to(ROOT)
