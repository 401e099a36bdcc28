"""`dmae search --server` against the real Space."""

import json

import pytest
from space_server import QUERY

from dmae import cli


def test_a_search_of_the_command_line_finds_what_the_space_finds(space, capsys):
    arguments = ["search", QUERY, "--server", space.url, "-k", "3"]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = [hit.to_dict() for hit in space.index.search(QUERY, k=3)]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]
    for hit, alone in zip(found, expected):
        assert list(hit)[: len(alone)] == list(alone) and hit["path"] is None
        assert hit["score"] == pytest.approx(alone["score"], abs=1e-5) and hit["start"] == alone["start"]
        assert hit["video"].startswith(space.url) and str(space.folder) not in json.dumps(hit)
    assert cli.main(arguments) == 0
    assert expected[0]["id"] in capsys.readouterr().out


def test_what_the_space_refuses_is_one_line(space, capsys):
    for words, told in ((("x" * 2000,), "1000"), ((QUERY, "-k", "1000"), "100"), ((" ",), "")):
        assert cli.main(["search", *words, "--server", space.url]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "refuses: " in error and told in error
