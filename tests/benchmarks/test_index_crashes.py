"""Writers of films and migrations killed at random moments, by the benchmark that does it more often."""

import json
import os
import subprocess
import sys

from places import ROOT


def crash(*options: str) -> dict:
    command = [sys.executable, ROOT / "benchmarks" / "index_crashes.py", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_films_whose_writer_is_killed_are_whole_or_not_there():
    found = crash("--films", "--kills", "3")
    assert found["kills"] == 3 and found["whole_after_each"]
    count = found["added_last"] + found["unchanged_last"]
    assert found["final"] == {"rows": count, "distinct": count, "scored": count, "whole": count, "unfinished": 0}
    assert found["added_last"] > 0 and found["unchanged_last"] >= 2


def test_a_killed_migration_loses_nothing_and_is_finished_by_the_next():
    found = crash("--migration", "--kills", "3", "--rows", "3")
    assert found["kills"] == 3 and found["whole_after_each"]
    assert found["final"] == {**found["before"], "format": 2} and found["before"]["videos"] == 3000
