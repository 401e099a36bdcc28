"""The container's files against the package: nothing of it is left out, and every name they use is one there is."""

import os
import re
import subprocess
import sys
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
import yaml
from places import ROOT

from dmae.cli import COMMANDS
from dmae.space.settings import Settings, variable

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_everything_that_the_package_is_built_from_is_copied():
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    folders = {folder.split("/")[0] for folder in PYPROJECT["tool"]["setuptools"]["package-dir"].values()}
    project = PYPROJECT["project"]
    assert folders | {"pyproject.toml", project["readme"], *project["license-files"]} <= copied
    assert all((ROOT / name).exists() for name in copied)
    assert set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)) == copied


def test_its_torch_and_its_extras_are_those_of_the_package():
    (torch,) = re.findall(r'"(torch[^"]+)"', DOCKERFILE)
    assert torch in PYPROJECT["project"]["dependencies"]
    (extras,) = re.findall(r'"\.\[(.+)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_it_ends_as_a_user_without_rights():
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == ["dmae"]
    assert DOCKERFILE.index("\nUSER dmae") < DOCKERFILE.index("\nENTRYPOINT")


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_uses_settings_and_commands_that_exist(name):
    service = COMPOSE["services"][name]
    known = {variable(field) for field in Settings.__dataclass_fields__}
    assert {key for key in service["environment"] if key.startswith("DMAE_")} <= known
    assert service.get("command", ["serve"])[0] in COMMANDS
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_health_check_fails_where_nothing_answers():
    (check,) = re.findall(r'^HEALTHCHECK .*CMD \["python", "-c", "(.+)"\]$', DOCKERFILE, re.M)
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(server.server_address[1])}

    def status() -> int:
        return subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True).returncode

    assert status() == 0
    server.shutdown()
    server.server_close()
    assert status() != 0
