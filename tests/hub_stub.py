"""A small Hugging Face Hub on loopback: enough of its HTTP to create, upload and download model repositories."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_stub_token"
REPO = r"(?P<repo>[^/]+/[^/]+)"


@dataclasses.dataclass
class Repo:
    private: bool = False
    gated: bool = False
    branches: dict[str, str] = dataclasses.field(default_factory=lambda: {"main": "0" * 40})
    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=lambda: {"0" * 40: {}})


class Hub(ThreadingHTTPServer):
    """`repos` is its whole state; `requests` lists "METHOD path" of all that was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        for method, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                handle(self, **match.groupdict())
                return
        self.reply(501, {"error": f"not in the stub: {self.command} {path}"})

    do_POST = do_PUT = do_HEAD = do_GET

    def reply(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        """The files of a revision; answers the request itself, with the Hub's error codes, when there are none."""
        known = self.server.repos.get(repo)
        if known is None or (known.private and not self.signed_in):
            self.reply(401, {"error": "no"}, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        elif known.gated and not self.signed_in:
            self.reply(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif known.branches.get(revision, revision) not in known.commits:
            self.reply(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "none"})
        else:
            return known.commits[known.branches.get(revision, revision)]
        return None

    def create(self) -> None:
        if not self.signed_in:
            self.reply(401, {"error": "Invalid username or password."})
            return
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        status = 409 if name in self.server.repos else 200
        private = bool(wanted.get("private") or wanted.get("visibility") == "private")
        self.server.repos.setdefault(name, Repo(private=private))
        self.reply(status, {"url": f"{self.server.url}/{name}", "error": "exists"})

    def branch(self, repo: str, branch: str) -> None:
        if self.find(repo) is None:
            return
        known = self.server.repos[repo]
        status = 409 if branch in known.branches else 200
        known.branches.setdefault(branch, known.branches["main"])
        self.reply(status, {"error": "Reference already exists"})

    def validate(self) -> None:
        self.reply(200, {"errors": [], "warnings": []})

    def info(self, repo: str, revision: str = "main") -> None:
        if (files := self.find(repo, revision)) is not None:
            known = self.server.repos[repo]
            sha = known.branches.get(revision, revision)
            self.reply(200, {"id": repo, "sha": sha, "siblings": [{"rfilename": name} for name in files]})

    def preupload(self, repo: str, revision: str) -> None:
        if self.find(repo, revision) is None:
            return
        names = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
        files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]
        self.reply(200, {"files": files})

    def batch(self, repo: str) -> None:
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.server.url}/blob/{o['oid']}"}}}
            for o in json.loads(self.body)["objects"]
        ]
        self.reply(200, {"transfer": "basic", "objects": objects})

    def blob(self, oid: str) -> None:
        self.server.blobs[oid] = self.body
        self.reply(200 if hashlib.sha256(self.body).hexdigest() == oid else 400)

    def commit(self, repo: str, revision: str) -> None:
        old = self.find(repo, revision)
        if old is None:
            return
        if not self.signed_in:
            self.reply(403, {"error": "forbidden"})
            return
        files = dict(old)
        for line in map(json.loads, self.body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.server.blobs[line["value"]["oid"]]
        known = self.server.repos[repo]
        sha = hashlib.sha1(f"{repo} {revision} {len(known.commits)}".encode()).hexdigest()
        known.commits[sha] = files
        known.branches[revision] = sha
        self.reply(200, {"commitUrl": f"{self.server.url}/{repo}/commit/{sha}", "commitOid": sha})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        files = self.find(repo, revision)
        if files is None:
            return
        sha = self.server.repos[repo].branches.get(revision, revision)
        if name not in files:
            missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "none", "X-Repo-Commit": sha}
            self.reply(404, {"error": "no"}, missing)
            return
        etag = hashlib.sha256(files[name]).hexdigest()
        self.reply(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"})


ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", rf"/api/models/{REPO}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", rf"/api/models/{REPO}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/api/models/{REPO}/commit/(?P<revision>.+)", Handler.commit),
    ("GET", rf"/api/models/{REPO}/revision/(?P<revision>.+)", Handler.info),
    ("GET", rf"/api/models/{REPO}", Handler.info),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/blob/(?P<oid>[0-9a-f]{64})", Handler.blob),
    ("GET HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Handler.resolve),
]


@contextmanager
def running_hub(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[Hub]:
    """The stub, with the installed huggingface_hub pointed at it, at an empty cache, and signed out."""
    from huggingface_hub import close_session, constants

    hub = Hub()
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": cache,
        "HF_TOKEN_PATH": f"{cache}/no-token",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    close_session()  # the client may hold a connection with other settings
    try:
        yield hub
    finally:
        close_session()
        hub.shutdown()
        hub.server_close()
