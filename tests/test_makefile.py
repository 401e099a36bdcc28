"""`make demo` hands on what it is given, whatever signs a folder's name holds."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from places import ROOT

from dmae.space.first_start import steps

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

# how it is written on the command line of make -> what it means
NAMES = {
    "/data/plain": "/data/plain",
    "/data/with space": "/data/with space",
    "/data/Bob's clips": "/data/Bob's clips",
    "/data/Ann's films": "/data/Ann's films",
    '/data/12" vinyl': '/data/12" vinyl',
    "/data/$$HOME": "/data/$HOME",
    "/data/$HOME": "/data/$HOME",
    "/data/$(HOME": "/data/$(HOME",
    "/data/`id`; true && false | x > y": "/data/`id`; true && false | x > y",
    "/data/a, b (c) #1 \\n %s *?": "/data/a, b (c) #1 \\n %s *?",
    "/data/ünï 日本": "/data/ünï 日本",
}


def planned(**variables) -> tuple[list[str], list[str], str]:
    """What the shell would give `dmae index` and `dmae search`, and the folder of the index."""
    given = [f"{name}={value}" for name, value in variables.items()]
    made = subprocess.run(["make", "-n", "demo", *given], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    found = []
    for command in ("index", "search"):
        (line,) = re.findall(rf"^\S*dmae ({command} .*)$", made.stdout, re.MULTILINE)
        shell = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
        found.append(shell.stdout.splitlines())
    return *found, found[0][found[0].index("--index") + 1]


def test_every_name_reaches_the_command_as_it_is():
    indexes = {}
    for written, meant in NAMES.items():
        index, search, folder = planned(MODEL="m", VIDEOS=written, QUERY=written, SERVE="0")
        assert index[:4] == ["index", meant, "--model", "m"]
        assert search[:4] == ["search", meant, "--model", "m"]
        indexes.setdefault(folder, set()).add(meant)
    assert all(len(meanings) == 1 for meanings in indexes.values()), "two folders share an index"
    assert planned(MODEL="it's $mine", VIDEOS="v")[0][2:4] == ["--model", "it's $mine"]


def test_without_names_the_demo_makes_its_own():
    index, search, folder = planned(SERVE="0")
    videos = ["demo/corpus/test", "demo/films"]
    assert index == ["index", *videos, "--model", "demo/model", "--index", "demo/index"]
    assert search[1] == "a red star moves to the left" and folder == "demo/index"
    assert planned(VIDEOS="v")[1][1] == "a person"


def test_a_first_start_of_the_page_goes_by_the_same_recipe():
    """Its commands are those of the demo, but for what makes them smaller."""
    made = subprocess.run(["make", "-nB", "demo"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    lines = made.stdout.replace("\\\n", " ").splitlines()
    ours = [shlex.split(line) for line in lines if re.search(r"dmae|dmae\.cli", line.split("#")[0])]
    named = [
        words[next(n for n, word in enumerate(words) if word.endswith(("/dmae", "dmae.cli"))) + 1 :] for words in ours
    ]
    theirs = [command[3:] for _, command in steps(Path("demo"))]
    kept = ("synthetic", "init", "train", "index")
    expected = [bare(words) for words in named if words[0] in kept]
    assert sorted(map(bare, theirs)) == sorted(expected)


def bare(words: list[str]) -> list[str]:
    """A command without the options that make it smaller, and without the folder of its recipe."""
    smaller = {"--train", "--test", "--stills"}
    kept = [word for before, word in zip([None, *words], words) if word not in smaller and before not in smaller]
    kept = [word for word in kept if not word.startswith(("max_steps=", "batch_size="))]
    return [word.rsplit("/", 1)[-1] if word.endswith(".yaml") else word for word in kept]


def test_a_folder_of_its_own_with_a_space_is_refused():
    made = subprocess.run(["make", "-n", "demo", "DEMO=my demo"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode != 0 and "without spaces" in made.stderr
