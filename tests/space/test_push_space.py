"""The Space's repository: valid head, requirements in step with the package, and an app that runs from it alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer
from huggingface_hub import snapshot_download
from places import ROOT

from dmae.space.push_space import push_space, space_files
from dmae.space.settings import Settings, describe

SPACE = ROOT / "space"


def head(readme: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", readme, re.S).group(1))


def test_the_readme_has_the_head_that_a_space_needs():
    readme = (SPACE / "README.md").read_text()
    values = head(readme)
    assert values["sdk"] == "gradio" and (SPACE / values["app_file"]).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", values["sdk_version"])
    assert values["license"] == "apache-2.0" and values["tags"] and len(values["short_description"]) <= 60
    assert describe() in readme


def test_requirements_are_those_of_the_package():
    listed = [line for line in (SPACE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    ours = re.findall(r'^    "([^"]+)",$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(listed) <= set(ours)


def test_push_and_run_from_what_was_pushed(tmp_path, monkeypatch):
    with HubServer() as hub:
        hub.add_token("hf_owner", "owner")
        hub.redirect(monkeypatch, tmp_path, token="hf_owner")
        url = push_space("owner/search", model="owner/model", index="owner/index")
        assert url.endswith("owner/search")
        folder = Path(snapshot_download("owner/search", repo_type="space", local_dir=tmp_path / "space"))
    values = head((folder / "README.md").read_text())
    assert values["models"] == ["owner/model"] and values["datasets"] == ["owner/index"]
    assert "DMAE_MODEL=owner/model" in (folder / "defaults.env").read_text()
    # -S: without the installed package's finder, so that only what was pushed can be found as dmae.
    probe = (
        f"import sys; sys.path[1:1] = {[p for p in sys.path if 'site-packages' in p]!r}\n"
        "import dmae.space.serve, dmae.cli\n"
        "print(dmae.space.serve.__file__); print(sorted(dmae.cli.COMMANDS))"
    )
    run = subprocess.run([sys.executable, "-S", "-c", probe], cwd=folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    where, names = run.stdout.splitlines()
    assert Path(where) == folder / "dmae/space/serve.py"
    assert "serve" in names and "train" in names


def test_what_is_pushed_holds_no_weights_and_nothing_of_this_machine():
    files = space_files()
    assert {"app.py", "dmae/modeling/modeling_dmae.py", "dmae/space/style.css"} <= files.keys()
    assert not [name for name in files if name.endswith((".safetensors", ".pyc", ".mp4"))]
    assert not [name for name, content in files.items() if str(ROOT).encode() in content]


def test_ids_that_are_none_are_refused():
    with pytest.raises(ValueError, match="both --model and --index"):
        push_space("owner/search", model="owner/model")
    with pytest.raises(ValueError, match="not a Hub id"):
        push_space("owner/search", model="owner/model", index="./clips.index")


def test_settings_come_from_the_environment():
    settings = Settings.from_environment(
        {"DMAE_MODEL": "m", "DMAE_UPLOADS": "yes", "DMAE_MAX_UPLOADS": "3", "SPACE_ID": "a/b"}
    )
    assert settings.model == "m" and settings.public and settings.uploads_allowed and settings.max_uploads == 3
    assert not Settings.from_environment({"SPACE_ID": "a/b"}).uploads_allowed
    assert Settings.from_environment({}).uploads_allowed
    assert Settings.from_environment({"DMAE_MODEL": "m"}, model="given").model == "given"
    for variables in ({"DMAE_MAX_UPLOADS": "many"}, {"DMAE_PUBLIC": "perhaps"}, {"DMAE_CONCURRENCY": "0"}):
        with pytest.raises(ValueError, match=next(iter(variables))):
            Settings.from_environment(variables)
