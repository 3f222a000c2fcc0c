"""A small Hugging Face Hub on loopback: enough of its HTTP to create, upload and download models and Spaces.

Spaces are kept under the name "spaces/user/name".
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_stub_token"
REPO = r"(?P<repo>(?:spaces/)?[^/]+/[^/]+)"
KIND = r"/api/(?P<kind>model|space)s/(?P<repo>[^/]+/[^/]+)"
LARGE = (".safetensors", ".jpg", ".png")


@dataclasses.dataclass
class Repo:
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    branches: dict[str, str] = dataclasses.field(default_factory=lambda: {"main": "0" * 40})
    tags: set[str] = dataclasses.field(default_factory=set)
    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=lambda: {"0" * 40: {}})


class Hub(ThreadingHTTPServer):
    """`repos` is its whole state; `requests` lists "METHOD path" of all that was asked.

    `broken` uploads of large files break off half way before one gets through. `no_tags` refuses to make tags.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = 0
        self.no_tags = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.command == "PUT" and self.server.broken:
            self.server.broken -= 1
            self.rfile.read(1000)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        for method, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                found = match.groupdict()
                if found.pop("kind", "model") == "space":
                    found["repo"] = f"spaces/{found['repo']}"
                handle(self, **found)
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
        if wanted.get("type") == "space":
            name = f"spaces/{name}"
        status = 409 if name in self.server.repos else 200
        private = bool(wanted.get("private") or wanted.get("visibility") == "private")
        self.server.repos.setdefault(name, Repo(private=private, sdk=wanted.get("sdk")))
        self.reply(status, {"url": f"{self.server.url}/{name}", "error": "exists"})

    def branch(self, repo: str, branch: str) -> None:
        if self.find(repo) is None:
            return
        known = self.server.repos[repo]
        status = 409 if branch in known.branches else 200
        known.branches.setdefault(branch, known.branches["main"])
        self.reply(status, {"error": "Reference already exists"})

    def tag(self, repo: str, revision: str) -> None:
        if self.find(repo, revision) is None:
            return
        known, name = self.server.repos[repo], json.loads(self.body)["tag"]
        status = 409 if name in known.branches else 200
        if self.server.no_tags:
            self.reply(400, {"error": "no tags today"})
            return
        known.branches.setdefault(name, known.branches.get(revision, revision))
        known.tags.add(name)
        self.reply(status, {"error": "Reference already exists"})

    def refs(self, repo: str) -> None:
        if self.find(repo) is not None:
            known = self.server.repos[repo]
            rows = [{"name": n, "ref": f"refs/{n}", "targetCommit": sha} for n, sha in known.branches.items()]
            tags = [row for row in rows if row["name"] in known.tags]
            self.reply(200, {"tags": tags, "branches": [r for r in rows if r not in tags], "converts": []})

    def tree(self, repo: str, revision: str) -> None:
        if (files := self.find(repo, revision)) is not None:
            rows = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in files.items()]
            self.reply(200, rows)

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
        modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
        files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]
        self.reply(200, {"files": files})

    def batch(self, repo: str) -> None:
        if not self.signed_in:
            self.reply(401, {"error": "no"})
            return
        objects = json.loads(self.body)["objects"]
        for wanted in objects:  # what is there already need not be sent again
            if wanted["oid"] not in self.server.blobs:
                wanted["actions"] = {"upload": {"href": f"{self.server.url}/blob/{wanted['oid']}"}}
        self.reply(200, {"transfer": "basic", "objects": objects})

    def blob(self, oid: str) -> None:
        whole = hashlib.sha256(self.body).hexdigest() == oid
        if whole:
            self.server.blobs[oid] = self.body
        self.reply(200 if whole else 400)

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
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
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
    ("POST", rf"{KIND}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", rf"{KIND}/tag/(?P<revision>.+)", Handler.tag),
    ("POST", rf"{KIND}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"{KIND}/commit/(?P<revision>.+)", Handler.commit),
    ("GET", rf"{KIND}/refs", Handler.refs),
    ("GET", rf"{KIND}/tree/(?P<revision>.+)", Handler.tree),
    ("GET", rf"{KIND}/revision/(?P<revision>.+)", Handler.info),
    ("GET", KIND, Handler.info),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/blob/(?P<oid>[0-9a-f]{64})", Handler.blob),
    ("GET HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Handler.resolve),
]


@contextmanager
def serving() -> Iterator[Hub]:
    """The stub alone, for clients in other processes (see `client_environment`)."""
    hub = Hub()
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


def client_environment(hub: Hub, home: str, token: str | None) -> dict[str, str]:
    """Variables that point a client at the stub, with a home folder and a token of its own."""
    hidden = ("HF_", "HUGGING", "PYTHON", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    signed_in = {"HF_TOKEN": token} if token else {}
    return {
        **kept,
        **signed_in,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": f"{home}/hf",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        "HOME": home,
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextmanager
def running_hub(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[Hub]:
    """The stub, with the installed huggingface_hub pointed at it, at an empty cache, and signed out."""
    from huggingface_hub import close_session, constants

    with serving() as hub:
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": cache,
            "HF_TOKEN_PATH": f"{cache}/no-token",
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        close_session()  # the client may hold a connection with other settings
        try:
            yield hub
        finally:
            close_session()
