"""What each command imports before it works: a command that needs no model starts without torch and transformers.

    pytest tests/test_light_commands.py

Each test looks into a process of its own, because this one has everything loaded.
"""

import json
import os
import subprocess
import sys

import pytest
from stand_in import HIT, gradio_routes, stand_in
from training_parts import tiny_model

from dmae.cli import COMMANDS
from dmae.retrieval import VideoIndex

# What a search must have beside the table and the model: frames are read, arrays and text are printed.
NEEDED_TO_SEARCH = {"dmae", "av", "PIL", "rich", "pygments", "markdown_it", "accelerate", "tokenizers", "safetensors"}
NEEDED_TO_SEARCH |= {"stopwordsiso"}  # of the language that a text is in

# What prints a table.
NEEDED_TO_PRINT = {"dmae", "yaml", "rich", "pygments", "markdown_it", "mdurl", "typing_extensions"}
TOP_LEVEL = "{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"


def packages(code: str, *arguments) -> set[str]:
    """The packages outside the standard library that a new process has imported once it has run `code`."""
    report = f"\nprint(); print(json.dumps(sorted({TOP_LEVEL})))"
    command = [sys.executable, "-c", "import json, sys\n" + code + report, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = set(json.loads(run.stdout.splitlines()[-1]))
    # An editable install's finder, and compiled helpers under names of their own, are nobody's choice.
    return {name for name in found if not name.startswith(("_", "cython_runtime"))}


@pytest.fixture(scope="module")
def engine() -> set[str]:
    """What `import lancedb` brings."""
    return packages("import lancedb, pyarrow.parquet")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("light") / "index"
    VideoIndex.create(folder, dim=2).add_embeddings(["x", "y"], [[[1.0, 0.0]], [[0.0, 1.0]]])
    return folder


def test_a_shard_of_the_search_service_starts_without_transformers():
    """Until its process is up again, answers are partial."""
    if not os.environ.get("CI"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert not packages("import dmae.retrieval.serving.shard") & {"transformers", "accelerate", "tokenizers", "gradio"}


def test_every_help_needs_the_standard_library_and_yaml_alone():
    code = """
from dmae import cli
for name in sys.argv[1:]:
    try:
        cli.main([name, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
"""
    assert packages(code, *COMMANDS) <= {"dmae", "yaml", "sitecustomize", "usercustomize"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "--index", "INDEX"),
        ("duplicates", "--index", "INDEX"),
        ("export", "OUT", "--index", "INDEX"),
        ("delete", "x", "--index", "INDEX"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_a_model_imports_the_table_alone(arguments, engine, index, tmp_path):
    names = {"INDEX": index, "OUT": tmp_path / "out.parquet"}
    code = "from dmae import cli\nassert cli.main(sys.argv[1:]) == 0"
    assert packages(code, *(names.get(word, word) for word in arguments)) - engine <= {"dmae"}


def test_asking_a_server_imports_only_what_prints_its_answer():
    code = "from dmae import cli\nassert cli.main(sys.argv[1:]) == 0"
    with stand_in(gradio_routes("complete", [[HIT]])) as (url, _):
        assert packages(code, "search", "a star", "--server", url) <= NEEDED_TO_PRINT
        assert packages(code, "search", "a star", "--server", url, "--json") <= {"dmae"}


def test_a_search_imports_the_table_the_model_and_little_else(engine, tmp_path):
    model, processor = tiny_model()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    VideoIndex.create(tmp_path / "index", model, processor)
    towers = packages("import torch; from transformers.models.clip.modeling_clip import CLIPModel")
    code = "from dmae import cli\nassert cli.main(sys.argv[1:]) == 0"
    found = packages(code, "search", "a star", "--model", tmp_path / "model", "--index", tmp_path / "index")
    assert found - engine - towers <= NEEDED_TO_SEARCH
    assert {"torch", "transformers"} <= found
