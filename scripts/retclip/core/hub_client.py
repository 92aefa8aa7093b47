"""The hub's client, watched: what an answer names is checked before it becomes a path, a commit or an address.

The client takes the ETag of a file for the name of its copy on this machine, the commit for that of a folder, and
follows whatever address it is given. So a hub, or who answers for it, could write over any file of the user's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from retclip.core.logs import log

COMMIT = re.compile(r"[0-9a-f]{40}")
# Of git, of LFS, or of a mirror's own making: the name of one file.
ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_BYTES = 64 << 20  # of a listing, or of a file that git keeps
# Of repositories whose listing nobody has asked for: what git keeps outside of itself.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


class AnswerError(ValueError):
    """A hub whose answer would lead the client, or us, to what is not of the repository."""


class Watch:
    """What the answers for one repository may name.

    what: begins each sentence. commit: whose files all have to be. files: of its listing. large: those that are kept
    outside of git (LFS), which alone may come from another host. Each is None as long as it is not known.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.commit: str | None = None
        self.files: set[str] | None = None
        self.large: set[str] | None = None
        self._hosts: set[str] = set()

    def check_request(self, request: Any) -> None:
        """Raises AnswerError for any other host than the hub's, and those that large files come from."""
        self._refuse_others(str(request.url))

    def check_answer(self, response: Any) -> None:
        """Raises AnswerError for what names a path, a commit or a host that it may not, and for a body without end."""
        request = response.request
        if response.has_redirect_location:
            self._follow(str(request.url), urljoin(str(request.url), response.headers["Location"]))
        links = {relation: link.get("url") for relation, link in response.links.items()}
        self._refuse_others(urljoin(str(request.url), links.get("next", "")))
        self._check_token_address(links.get("xet-auth") or response.headers.get("X-Xet-Refresh-Route"))
        if request.method == "HEAD":
            self._check_names(response.headers, is_there=response.status_code < 400)
        elif response.has_redirect_location or not self._is_large(str(request.url)):
            self._read(response)
            if "/tree/" in request.url.path:
                self._check_tree(response)

    def _check_token_address(self, address: str | None) -> None:
        """Where the client goes with the user's token; what begins as the public hub's it takes to the endpoint."""
        from huggingface_hub import constants

        if address and not address.startswith(constants.HUGGINGFACE_CO_URL_HOME):
            self._refuse_others(urljoin(_endpoint(), address))

    def _check_names(self, headers: Any, is_there: bool) -> None:
        commit = headers.get("X-Repo-Commit")
        if commit is not None and (not COMMIT.fullmatch(commit) or commit != (self.commit or commit)):
            raise AnswerError(
                f"{self.what}: the hub gives a file of commit {commit[:60]!r} in place of {self.commit}; "
                "check HF_ENDPOINT."
            )
        etag = headers.get("X-Linked-ETag") or headers.get("ETag")
        if is_there and etag is not None and not ETAG.fullmatch(etag.removeprefix("W/").strip('"')):
            raise AnswerError(
                f"{self.what}: the hub names a hash {etag[:60]!r}, which is none; do not trust this source."
            )

    def _check_tree(self, response: Any) -> None:
        entries = response.json()
        for entry in entries if isinstance(entries, list) else []:
            path, large = str(entry.get("path")), entry.get("lfs")
            known = self.files is None or entry.get("type") != "file" or path in self.files
            if not known or (large and not SHA256.fullmatch(str(large.get("oid")))):
                raise AnswerError(
                    f"{self.what}: the hub names a file or hash that its listing has not ({path[:60]!r}); "
                    "do not trust this source."
                )

    def _follow(self, origin: str, target: str) -> None:
        """Lets a large file come from another host, whose bytes are compared with the hub's hash; nothing else."""
        if self._is_known(target):
            return
        if not self._is_large(origin):
            self._refuse_others(target)
        host = _host(target)
        if host not in self._hosts:
            self._hosts.add(host)
            log(f"{self.what}: large files come from {host}")

    def _is_large(self, address: str) -> bool:
        parts = urlsplit(address)
        if parts.netloc in self._hosts:
            return True
        path = unquote(parts.path)
        return path.endswith(WEIGHTS if self.large is None else tuple(f"/{name}" for name in self.large))

    def _read(self, response: Any) -> None:
        """The whole body, unless it is too much, also where it is compressed."""
        pieces, count = [], 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            count += len(piece)
            if count > MOST_BYTES:
                raise AnswerError(
                    f"{self.what}: the hub answers with more than {MOST_BYTES >> 20} MB; check HF_ENDPOINT."
                )
        response._content = b"".join(pieces)  # as response.read(), which knows no bound, leaves it

    def _refuse_others(self, target: str) -> None:
        if not self._is_known(target):
            raise AnswerError(
                f"{self.what}: the hub leads to {_host(target)[:60]}, which is not {_host(_endpoint())}; "
                "check HF_ENDPOINT."
            )

    def _is_known(self, target: str) -> bool:
        parts, ours = urlsplit(target), urlsplit(_endpoint())
        is_ours = parts.netloc == ours.netloc and parts.scheme in ("https", ours.scheme)
        return is_ours or parts.netloc in self._hosts


@contextmanager
def watched(what: str) -> Iterator[Watch]:
    """All that the hub's client asks and is told meanwhile is checked. what: begins each sentence."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    watch = Watch(what)

    def watched_client() -> Any:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], watch.check_request],
            "response": [*hooks["response"], watch.check_answer],
        }
        return client

    set_client_factory(watched_client)
    try:
        yield watch
    finally:
        set_client_factory(default_client_factory)


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _host(address: str) -> str:
    return urlsplit(address).netloc
