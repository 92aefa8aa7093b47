"""A small hub of our own on the loopback, for the real client: no address outside this machine is contacted."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/tiny-bert"
WEIGHTS = "pytorch_model.bin"


class SmallHub:
    """One repository at one commit. Whatever is set on it changes the next answers.

    lists: entries besides those of the files. faults: what goes wrong with the next weights (busy, other bytes, broken
    line). headers: file name -> headers of its answers, in place of the true ones. leads_to: file name -> where its
    address redirects. listing, tree: what is answered in place of the true ones. requested: the paths so far.
    """

    def __init__(self, files: dict[str, bytes], large: tuple[str, ...] = (WEIGHTS,)) -> None:
        self.files, self.large = files, large
        self.address = ""
        self.commit = COMMIT
        self.requested: list[str] = []
        self.faults: list[str] = []
        self.lists: list[dict[str, Any]] = []
        self.headers: dict[str, dict[str, str]] = {}
        self.leads_to: dict[str, str] = {}
        self.listing: bytes | None = None
        self.tree: bytes | None = None
        self.api_headers: dict[str, str] = {}

    @contextmanager
    def serving(self) -> Iterator["SmallHub"]:
        server = _Server(("127.0.0.1", 0), type("Answer", (_Answer,), {"hub": self}))
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()

    def info(self) -> bytes:
        """The description of the repository, with a hash of each file."""
        siblings = []
        for name, data in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            if name in self.large:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return json.dumps(
            {"id": MODEL, "modelId": MODEL, "sha": self.commit, "cardData": {"license": "mit"},
             "siblings": siblings + self.lists, "tags": [], "private": False, "downloads": 0}
        ).encode()  # fmt: skip

    def files_of_the_tree(self) -> bytes:
        entries = []
        for name, data in self.files.items():
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
            if name in self.large:
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        return json.dumps(entries).encode()


def git_hash(data: bytes) -> str:
    """The SHA-1 that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        """A client that hangs up is no fault."""


class _Answer(BaseHTTPRequestHandler):
    hub: SmallHub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.hub, self.path.split("?")[0]
        hub.requested.append(self.path)
        name = path.rpartition("/")[2]
        if path.startswith(f"/api/models/{MODEL}") and not path.endswith("missing"):
            if "/tree/" in path:
                content = hub.files_of_the_tree() if hub.tree is None else hub.tree
            else:
                content = hub.info() if hub.listing is None else hub.listing
            self.send(200, content, "application/json", body, further=hub.api_headers)
        elif name in hub.leads_to and not path.startswith("/there/"):
            further = {"Location": hub.leads_to[name], "X-Linked-Size": str(len(hub.files[name]))}
            self.send(302, b"", "text/plain", body, hub.files[name], further)
        elif name == WEIGHTS and body and hub.faults:
            self.go_wrong(hub.faults.pop(0), hub.files[WEIGHTS])
        elif name in hub.files and path.startswith((f"/{MODEL}/resolve/", "/there/")):
            self.send(200, hub.files[name], "application/octet-stream", body)
        else:
            self.send(404, b'{"error": "not found"}', "application/json", body)

    def go_wrong(self, fault: str, content: bytes) -> None:
        if fault == "busy":
            self.send(429, b"{}", "application/json", True)
        elif fault == "other bytes":
            self.send(200, content[:-64] + bytes(64), "application/octet-stream", True, content)
        else:  # the line breaks after two thirds
            self.send(200, content[: 2 * len(content) // 3], "application/octet-stream", True, content)
            self.close_connection = True

    def send(
        self,
        code: int,
        content: bytes,
        kind: str,
        body: bool,
        promised: bytes | None = None,
        further: dict[str, str] | None = None,
    ) -> None:
        """promised: the file that the headers tell of, where the body is another."""
        whole = promised = content if promised is None else promised
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start and code == 200:
            code, content, promised = 206, content[start:], promised[start:]
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content) if code == 302 else len(promised)),
            "ETag": f'"{hashlib.sha256(whole).hexdigest()}"',
            "X-Repo-Commit": self.hub.commit,
            **(further or {}),
            **self.hub.headers.get(self.path.split("?")[0].rpartition("/")[2], {}),
        }
        if code == 206:
            headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{start + len(content)}"
        if code == 404:
            headers["X-Error-Code"] = "RevisionNotFound"
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass
