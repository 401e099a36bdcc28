"""A stand-in for the Hub's HTTP API in memory: the real `huggingface_hub` client creates repositories on it, pushes
to them and reads them.

    with HubServer() as hub:
        hub.add_token("hf_owner", "owner")
        subprocess.run([...], env=os.environ | hub.environment(tmp_path, token="hf_owner"))   # a fresh process
        hub.redirect(monkeypatch, tmp_path, token="hf_owner")                                 # or this one
"""

import base64
import hashlib
import json
import re
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KINDS = ("models", "datasets", "spaces")
LFS_SUFFIXES = (".safetensors", ".bin", ".lance", ".parquet", ".mp4")
CREATED = "2026-01-01T00:00:00.000Z"


class HubError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class HubFile:
    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """What the Hub calls a content: git's name of a blob, or the SHA-256 of a large file."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def entry(self, path: str) -> dict:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        return entry | ({"lfs": {"oid": self.oid, "size": len(self.content), "pointerSize": 134}} if self.lfs else {})


@dataclass
class HubRepo:
    kind: str
    id: str
    private: bool
    settings: dict = field(default_factory=dict)
    commits: list[tuple[str, str, dict[str, HubFile]]] = field(default_factory=list)  # sha, message, files

    @property
    def files(self) -> dict[str, HubFile]:
        return self.commits[-1][2]

    def commit(self, message: str, files: dict[str, HubFile]) -> str:
        sha = hashlib.sha1(f"{self.kind}/{self.id}/{len(self.commits)}".encode()).hexdigest()
        self.commits.append((sha, message, files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, HubFile]]:
        for sha, _, files in reversed(self.commits):
            if revision in ("main", sha):
                return sha, files
        raise HubError(404, f"no revision {revision}", "RevisionNotFound")


class HubServer:
    """The service; its state is open to tests.

    repos: {("models", "owner/name"): HubRepo}. requests: (method, path) in order of arrival.
    broken_uploads: how many of the next uploads of large files lose their connection half-way.
    longest_answer: bytes after which a download loses its connection.
    """

    def __init__(self):
        self.repos: dict[tuple[str, str], HubRepo] = {}
        self.tokens: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.broken_uploads = 0
        self.longest_answer = sys.maxsize
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._http.shutdown()
        self._http.server_close()

    def add_token(self, token: str, user: str) -> None:
        self.tokens[token] = user

    def as_owner(self, monkeypatch, home: Path) -> "HfApi":
        """Points the client in this process here, as the user "owner"."""
        from huggingface_hub import HfApi

        self.add_token("hf_owner", "owner")
        self.redirect(monkeypatch, home, token="hf_owner")
        return HfApi(endpoint=self.endpoint)

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Variables that point a fresh process here, with an empty cache below `home`."""
        here = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        return here | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": token or ""}

    def redirect(self, monkeypatch, home: Path, token: str | None = None) -> None:
        """Points the client in this process here (a cache that a library took at import needs `cache_dir` too)."""
        from huggingface_hub import constants, hf_api
        from transformers.utils import hub

        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(hf_api.api, "endpoint", self.endpoint)
        monkeypatch.setattr(hub, "_hf_api", None)  # keeps the endpoint of its first use
        monkeypatch.setenv("HF_TOKEN", token or "")

    # What each request does. `user` is the token's owner, None without a token.

    def create(self, user: str | None, body: dict) -> dict:
        owner = body.get("organization") or user
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if owner != user:
            raise HubError(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        kind, name = f"{body.get('type') or 'model'}s", f"{owner}/{body['name']}"
        url = f"{self.endpoint}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self.repos:
            raise HubError(409, json.dumps({"error": "You already created this repo", "url": url}))
        private = body.get("visibility") == "private" or bool(body.get("private"))
        settings = {key: body[key] for key in ("sdk", "hardware", "variables") if key in body}
        repo = self.repos[kind, name] = HubRepo(kind, name, private, settings)
        repo.commit("initial commit", {".gitattributes": HubFile(b"*.safetensors filter=lfs\n", False)})
        return {"url": url, "name": name, "id": name}

    def repo(self, user: str | None, kind: str, name: str, write: bool = False) -> HubRepo:
        repo = self.repos.get((kind, name))
        owner = name.split("/")[0]
        if repo is None or (repo.private and user != owner):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user != owner:
            raise HubError(403 if user else 401, "You don't have write access to this repo")
        return repo

    def describe(self, repo: HubRepo, revision: str) -> dict:
        sha, files = repo.at(revision)
        facts = {
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.id.split("/")[0],
            "sha": sha,
            "private": repo.private,
        }
        counts = {"tags": [], "downloads": 0, "likes": 0, "lastModified": CREATED, "createdAt": CREATED}
        return facts | counts | repo.settings | {"siblings": [{"rfilename": path} for path in files]}

    def tree(self, repo: HubRepo, revision: str, folder: str, recursive: bool) -> list[dict]:
        _, files = repo.at(revision)
        prefix = f"{folder}/" if folder else ""
        below = {path[len(prefix) :]: path for path in files if path.startswith(prefix)}
        if folder and not below:
            raise HubError(404, f"no folder {folder}", "EntryNotFound")
        entries = [files[path].entry(path) for rest, path in below.items() if recursive or "/" not in rest]
        folders = {prefix + rest.split("/")[0] for rest in below if "/" in rest}
        return entries + [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]

    def preupload(self, repo: HubRepo, body: dict) -> dict:
        answers = []
        for file in body["files"]:
            large = file["path"].endswith(LFS_SUFFIXES) or b"\0" in base64.b64decode(file["sample"])
            known = repo.files.get(file["path"])
            answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            answers.append(answer | ({"oid": known.oid} if known else {}))
        return {"files": answers}

    def batch(self, body: dict) -> dict:
        def answer(item: dict) -> dict:
            if item["oid"] in self.objects:
                return item
            return item | {"actions": {"upload": {"href": f"{self.endpoint}/objects/{item['oid']}", "header": {}}}}

        return {"transfer": "basic", "objects": [answer(item) for item in body["objects"]]}

    def apply(self, repo: HubRepo, lines: list[dict]) -> dict:
        files, message = dict(repo.files), ""
        for line in lines:
            value, path = line["value"], line["value"].get("path")
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[path] = HubFile(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    raise HubError(400, f"the content of {path} was not uploaded")
                files[path] = HubFile(self.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del files[path]
            elif line["key"] == "deletedFolder":
                files = {name: file for name, file in files.items() if not name.startswith(path.rstrip("/") + "/")}
        sha = repo.commit(message, files)
        return {"commitUrl": f"{self.endpoint}/{repo.id}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None}


class _Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers; `HubServer` decides what they are."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    API = re.compile(rf"/api/({'|'.join(KINDS)})/([^/]+/[^/]+)(?:/(\w[\w-]*)(?:/([^/]+)(?:/(.+))?)?)?$")
    RESOLVE = re.compile(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
    BATCH = re.compile(r"/(?:(?:datasets|spaces)/)?[^/]+/[^/]+\.git/info/lfs/objects/batch$")

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_GET

    def do_PUT(self):
        size = int(self.headers["Content-Length"])
        self.hub.requests.append(("PUT", self.path))
        with self.hub.lock:
            broken, self.hub.broken_uploads = self.hub.broken_uploads > 0, max(0, self.hub.broken_uploads - 1)
        content = self.rfile.read(size // 2 if broken else size)
        if broken:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(2)
            return
        oid = self.path.rsplit("/", 1)[1]
        if hashlib.sha256(content).hexdigest() != oid:
            return self._send(400, b"the content is not what was announced")
        self.hub.objects[oid] = content
        self._send(200, b"")

    def log_message(self, *args):
        pass

    def _answer(self):
        self.hub.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        try:
            answer = self._route(unquote(url.path), parse_qs(url.query), body)
        except HubError as error:
            message = str(error)
            headers = {"X-Error-Code": error.code} if error.code else {}
            payload = message if message.startswith("{") else json.dumps({"error": message})
            return self._send(error.status, payload.encode(), headers | {"X-Error-Message": message.split("\n")[0]})
        if answer is not None:
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _route(self, path: str, query: dict, body: bytes):
        _, _, token = self.headers.get("Authorization", "").partition(" ")
        if token and token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        user = self.hub.tokens.get(token)
        if path == "/api/repos/create":
            with self.hub.lock:
                return self.hub.create(user, json.loads(body))
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "/api/whoami-v2" and user:
            return {"type": "user", "name": user, "orgs": []}
        if self.BATCH.match(path):
            return self.hub.batch(json.loads(body))
        if match := self.RESOLVE.match(path):
            kind, name, revision, file = match.groups()
            return self._send_file(self.hub.repo(user, kind or "models", name), revision, file)
        if match := self.API.match(path):
            return self._api(user, *match.groups(), query, body)
        raise HubError(404, f"the stand-in does not know {self.command} {path}")

    def _api(self, user, kind, name, action, revision, rest, query, body):
        write = action in ("preupload", "commit")
        repo = self.hub.repo(user, kind, name, write)
        if action in (None, "revision"):
            return self.hub.describe(repo, revision or "main")
        if action == "tree":
            return self.hub.tree(repo, revision, rest or "", query.get("recursive", ["false"])[0].lower() == "true")
        if action == "preupload":
            return self.hub.preupload(repo, json.loads(body))
        if action == "commit":
            with self.hub.lock:
                return self.hub.apply(repo, [json.loads(line) for line in body.splitlines()])
        if action == "paths-info":
            files = repo.at(revision)[1]
            return [files[path].entry(path) for path in parse_qs(body.decode()).get("paths", []) if path in files]
        if action == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1][0]}
            return {"branches": [main], "converts": [], "tags": []}
        raise HubError(404, f"the stand-in does not know {action}", "EntryNotFound")

    def _send_file(self, repo: HubRepo, revision: str, path: str) -> None:
        sha, files = repo.at(revision)
        if path not in files:
            raise HubError(404, f"no file {path}", "EntryNotFound")
        file = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        part = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if part:
            start, total = int(part[1]), len(file.content)
            end = min(int(part[2] or total), total - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
            return self._send(206, file.content[start : end + 1], headers)
        self._send(200, file.content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            broken = len(content) > self.hub.longest_answer
            self.hub.sent += len(content)
            self.wfile.write(content[: self.hub.longest_answer])
            self.close_connection = self.close_connection or broken
