"""A small model hub on this machine: it serves a folder to the real Hugging Face clients.

``transformers``, ``datasets`` and ``huggingface_hub`` talk to it unchanged, because ``HF_ENDPOINT`` tells them where
the hub is. That variable is read when ``huggingface_hub`` is imported, so a test runs the client in a process of its
own, with :meth:`LocalHub.environment` added to the environment.

It takes a push too, into a repository of the user whose token comes with it, as files in the same folders. How a
server goes wrong in the middle of one can be set: :attr:`LocalHub.faults`.
"""

import base64
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml
from datasets import ClassLabel, Dataset, Features, List, Value

PARQUET_BRANCH = "refs/convert/parquet"
WIKIANN_ID = "unimelb-nlp/wikiann"
WIKIANN_LABELS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
# As the real card has it: "sequence" became "list" only in datasets 4.
_WIKIANN_FEATURES = (
    "  features:\n  - name: tokens\n    sequence: string\n"
    "  - name: ner_tags\n    sequence:\n      class_label:\n        names:\n"
    + "".join(f"          '{index}': {label}\n" for index, label in enumerate(WIKIANN_LABELS))
    + "  - name: langs\n    sequence: string\n  - name: spans\n    sequence: string\n"
)


def run_client(environment: Mapping[str, str], code: str, *arguments: str) -> str:
    """Run Python code in a process of its own, which must succeed, and return what it printed."""
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


class LocalHub:
    """A hub that serves ``root/models/<org>/<name>`` and ``root/datasets/<org>/<name>`` while its context is open.

    Each of these folders is a repository with a branch "main" of one commit, made from what the folder holds now.
    A folder beside it, ``<name>@<branch>``, is another branch; ``@parquet`` is "refs/convert/parquet", where the real
    hub keeps its copies.

    Args:
        root: the folder, which need not exist.
        writers: users by their token; each may write to the repositories under their name, and to no others.
        readers: users by a token that may only read.
    """

    def __init__(
        self, root: str | Path, writers: Mapping[str, str] | None = None, readers: Mapping[str, str] | None = None
    ) -> None:
        self.root = Path(root)
        self.writers = dict(writers or {})
        self.readers = dict(readers or {})
        self.faults: dict[str, int] = {}
        """The status that a route of ``_ROUTES``, by its name, answers with; 0 hangs up without an answer."""
        self.objects: dict[str, bytes] = {}
        """The large files that arrived, by their SHA-256."""
        self.requests: list[tuple[str, str]] = []
        """Method and target, query included, of every request in the order of arrival.

        A target that does not begin with "/" was meant for another host: see :meth:`environment`.
        """

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # Leaving the context waits for up to one poll interval; the default is half a second.
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, cache_dir: str | Path) -> dict[str, str]:
        """Return the variables that make a new process use this hub and keep all its caches under ``cache_dir``.

        The server is also named as the proxy for all other hosts. The clients call some whatever ``HF_ENDPOINT`` says
        (``datasets`` asks ``datasets-server.<host of the hub>``); so these calls stay on this machine, show up in
        :attr:`requests` and get a 404.
        """
        home = Path(cache_dir)
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            # These follow HF_HOME unless the outer environment sets them.
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_MODULES_CACHE": str(home / "modules"),
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            # Else `datasets` reports each load to a server at Amazon.
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            # In small letters, because these win over the same names in capitals.
            "http_proxy": self.url,
            "https_proxy": self.url,
            "no_proxy": "127.0.0.1",
        }

    def downloads(self) -> list[str]:
        """Return what was downloaded, such as "datasets/org/name/sw/test.parquet", in the order of arrival."""
        matches = [_RESOLVE.fullmatch(target) for method, target in self.requests if method == "GET"]
        return [unquote(f"{m['kind'] or 'models/'}{m['name']}/{m['path']}") for m in matches if m]


@dataclass(frozen=True)
class _Repository:
    kind: str
    name: str
    folder: Path

    def files(self) -> dict[str, Path]:
        """Return the repository's files by their path in it, sorted."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    def commit(self) -> str:
        listing = "".join(f"{_blob_id(path)} {name}\n" for name, path in self.files().items())
        return hashlib.sha1(f"{self.kind}/{self.name}\n{listing}".encode()).hexdigest()

    def entries(self) -> dict[str, dict[str, Any]]:
        """Describe every file and folder the way the tree and paths-info calls answer, by path."""
        entries: dict[str, dict[str, Any]] = {}
        for name, path in self.files().items():
            for folder in [parent.as_posix() for parent in Path(name).parents][:-1]:
                # No client compares a folder's id with anything, so it need not depend on what the folder holds.
                folder_id = hashlib.sha1(folder.encode()).hexdigest()
                entries[folder] = {"type": "directory", "path": folder, "oid": folder_id, "size": 0}
            entries[name] = {"type": "file", "path": name, "oid": _blob_id(path), "size": path.stat().st_size}
        return entries


def _blob_id(path: Path) -> str:
    """Return the id that git gives the file's content; the hub uses it as the ETag too."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _HubError(Exception):
    """An answer with an error status. ``code`` is what the clients choose their exception class by."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, "X-Error-Code": code, "X-Repo-Commit": commit}


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. It stays with HTTP/1.0: each request has its own connection, so a stopped hub is gone."""

    def __init__(self, hub: LocalHub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def answer(self) -> None:
        self.hub.requests.append((self.command, self.path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.path.partition("?")[0]
        try:
            for methods, pattern, name in _ROUTES:
                if self.command in methods and (match := pattern.fullmatch(target)):
                    found = {key: value and unquote(value) for key, value in match.groupdict().items()}
                    if (fault := self.hub.faults.get(name)) is not None:
                        return self.fail(fault)
                    return getattr(self, name)(**found)
            raise _HubError(404, "Not Found")
        except _HubError as error:
            self.send(error.status, json.dumps({"error": str(error)}).encode(), error.headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = answer

    def fail(self, status: int) -> None:
        if status:
            raise _HubError(status, "Something went wrong on our side")
        self.close_connection = True

    def send(self, status: int, content: bytes, headers: Mapping[str, str | None]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, answer: object) -> None:
        self.send(200, json.dumps(answer).encode(), {})

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the tests read ``LocalHub.requests`` instead."""

    def repository(self, kind: str, name: str, revision: str | None) -> tuple[_Repository, str]:
        """Find a repository and the id of its commit, or answer as the hub does when one of them does not exist."""
        folder = self.hub.root / kind / name
        if "/" not in name or not folder.is_dir():
            # The hub says 401 to a stranger, so as not to tell which private repositories exist, and 404 to someone
            # logged in. The clients read a 401 as "not found" only from an https address.
            raise _HubError(404, "Repository not found", "RepoNotFound")
        for branch, branch_folder in self.branches(folder).items():
            repository = _Repository(kind, name, branch_folder)
            commit = repository.commit()
            if (revision or "main") in (branch, commit):
                return repository, commit
        raise _HubError(404, f"Invalid rev id: {revision!a}", "RevisionNotFound")

    @staticmethod
    def branches(folder: Path) -> dict[str, Path]:
        """Return the folder of each branch."""
        others = {unquote(path.name.partition("@")[2]): path for path in folder.parent.glob(f"{folder.name}@*")}
        return {"main": folder} | {PARQUET_BRANCH if name == "parquet" else name: p for name, p in others.items()}

    def user(self, *, writes_to: str | None = None) -> str:
        """Return whose token came with the request, who may write to that repository."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = (self.hub.writers | self.hub.readers).get(token)
        if user is None:
            raise _HubError(401, "Invalid username or password.")
        if writes_to is not None and (token in self.hub.readers or writes_to.partition("/")[0] != user):
            raise _HubError(403, f"You don't have the rights to write to {writes_to}.")
        return user

    def whoami(self) -> None:
        self.send_json({"type": "user", "name": self.user(), "auth": {}})

    def info(self, kind: str, name: str, revision: str | None = None) -> None:
        repository, commit = self.repository(kind, name, revision)
        answer = {"id": name, "sha": commit, "private": False, "gated": False, "disabled": False, "tags": []}
        self.send_json(answer | {"siblings": [{"rfilename": path} for path in repository.files()]})

    def tree(self, kind: str, name: str, revision: str, path: str | None) -> None:
        repository, _ = self.repository(kind, name, revision)
        entries = repository.entries()
        if path and entries.get(path, {}).get("type") != "directory":
            raise _HubError(404, "Entry not found", "EntryNotFound")
        inside = f"{path}/" if path else ""
        below = {key: entry for key, entry in entries.items() if key.startswith(inside)}
        recursive = parse_qs(urlsplit(self.path).query).get("recursive") == ["true"]
        self.send_json([entry for key, entry in below.items() if recursive or "/" not in key[len(inside) :]])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repository, _ = self.repository(kind, name, revision)
        entries = repository.entries()
        self.send_json([entries[path] for path in parse_qs(self.body.decode())["paths"] if path in entries])

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        """Send a file, or the part of it that a Range header asks for."""
        repository, commit = self.repository("datasets" if kind else "models", name, revision)
        file = repository.files().get(path)
        if file is None:
            # The clients note in their cache which files this commit does not have.
            raise _HubError(404, "Entry not found", "EntryNotFound", commit)
        content = file.read_bytes()
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        headers |= {"ETag": f'"{_blob_id(file)}"', "X-Repo-Commit": commit}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self.send(200, content, headers)
        start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if start > end:
            return self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        self.send(206, content[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    # What a push calls, in this order; the routes that it shares with a pull are above.

    def create_repository(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self.user()}/{asked['name']}"
        self.user(writes_to=name)
        folder = self.hub.root / "models" / name
        if folder.is_dir():
            conflict = {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
            return self.send(409, json.dumps(conflict).encode(), {})
        folder.mkdir(parents=True)
        # An own file of the hub's, as on the real one.
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n", encoding="utf-8")
        self.send_json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def write_check(self, kind: str, name: str) -> None:
        self.repository(kind, name, None)
        self.user(writes_to=name)
        self.send_json({})

    def create_branch(self, kind: str, name: str, branch: str) -> None:
        self.repository(kind, name, None)
        self.user(writes_to=name)
        folder = self.hub.root / kind / name
        if branch in self.branches(folder):
            raise _HubError(409, f"Reference {branch} already exists")
        folder.with_name(f"{folder.name}@{quote(branch, safe='')}").mkdir()
        self.send_json({})

    def validate_yaml(self) -> None:
        """Refuse a card whose metadata is none."""
        parts = json.loads(self.body)["content"].split("---\n", 2)
        try:
            valid = isinstance(yaml.safe_load(parts[1]), dict) and not parts[0]
        except (IndexError, yaml.YAMLError):
            valid = False
        errors = [] if valid else [{"message": "the metadata is not a YAML mapping"}]
        self.send(200 if valid else 400, json.dumps({"errors": errors, "warnings": []}).encode(), {})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        repository, _ = self.repository(kind, name, revision)
        self.user(writes_to=name)
        present = repository.entries()
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": present.get(file["path"], {}).get("oid"),
            }
            for file in json.loads(self.body)["files"]
        ]
        self.send_json({"files": files})

    def large_files(self, name: str) -> None:
        self.user(writes_to=name)
        objects = [
            asked | {"actions": {"upload": {"href": f"{self.hub.url}/objects/{asked['oid']}", "header": {}}}}
            for asked in json.loads(self.body)["objects"]
        ]
        self.send_json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _HubError(400, "This content has another digest")
        self.hub.objects[oid] = self.body
        self.send(200, b"", {})

    def commit(self, kind: str, name: str, revision: str) -> None:
        repository, _ = self.repository(kind, name, revision)
        self.user(writes_to=name)
        contents: dict[str, bytes] = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                contents[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                contents[value["path"]] = self.hub.objects[value["oid"]]
        for path, content in contents.items():
            (repository.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (repository.folder / path).write_bytes(content)
        commit = repository.commit()
        self.send_json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})


_NAME = r"(?P<name>[\w.-]+(?:/[\w.-]+)?)"
_API = rf"/api/(?P<kind>models|datasets)/{_NAME}"
_RESOLVE = re.compile(rf"/(?P<kind>datasets/)?{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_ROUTES: list[tuple[tuple[str, ...], re.Pattern[str], str]] = [
    (("GET",), re.compile("/api/whoami-v2"), "whoami"),
    (("GET",), re.compile(_API), "info"),
    (("GET",), re.compile(rf"{_API}/revision/(?P<revision>[^/]+)"), "info"),
    (("GET",), re.compile(rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?"), "tree"),
    (("POST",), re.compile(rf"{_API}/paths-info/(?P<revision>[^/]+)"), "paths_info"),
    (("GET", "HEAD"), _RESOLVE, "resolve"),
    (("POST",), re.compile("/api/repos/create"), "create_repository"),
    (("GET",), re.compile(rf"{_API}/auth-check/write"), "write_check"),
    (("POST",), re.compile(rf"{_API}/branch/(?P<branch>[^/]+)"), "create_branch"),
    (("POST",), re.compile("/api/validate-yaml"), "validate_yaml"),
    (("POST",), re.compile(rf"{_API}/preupload/(?P<revision>[^/]+)"), "preupload"),
    (("POST",), re.compile(rf"/{_NAME}\.git/info/lfs/objects/batch"), "large_files"),
    (("PUT",), re.compile("/objects/(?P<oid>[0-9a-f]{64})"), "store"),
    (("POST",), re.compile(rf"{_API}/commit/(?P<revision>[^/]+)"), "commit"),
]


Rows = Sequence[Mapping[str, Any]]


def write_repository(root: str | Path, name: str, data: Mapping[str, Mapping[str, Rows]]) -> None:
    """Write a dataset repository with one Parquet file for each split, and a card that names the configurations.

    Args:
        root: the folder that :class:`LocalHub` serves.
        name: such as "google/xquad".
        data: configuration -> split -> rows.
    """
    folder = Path(root) / "datasets" / name
    configs = ""
    for config, splits in data.items():
        configs += f"- config_name: {config}\n  data_files:\n"
        for split, rows in splits.items():
            (folder / config).mkdir(parents=True, exist_ok=True)
            Dataset.from_list(list(rows)).to_parquet(folder / config / f"{split}.parquet")
            configs += f"  - split: {split}\n    path: {config}/{split}.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n", encoding="utf-8")


def write_script_repository(root: str | Path, name: str, data: Mapping[str, Mapping[str, Rows]]) -> None:
    """Write a dataset repository that holds a loading script alone, and the branch with its copy in Parquet.

    Like the real hub's, that branch has no card: `datasets` sees one configuration, "default", of all files.
    """
    folder = Path(root) / "datasets" / name
    folder.mkdir(parents=True)
    (folder / f"{folder.name}.py").write_text("raise SystemExit('nobody runs this')\n", encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: cc-by-sa-3.0\n---\n", encoding="utf-8")
    for config, splits in data.items():
        for split, rows in splits.items():
            copy = folder.with_name(f"{folder.name}@parquet") / config / split
            copy.mkdir(parents=True)
            Dataset.from_list(list(rows)).to_parquet(copy / "0000.parquet")


def write_wikiann_repository(
    root: str | Path, data: Mapping[str, Mapping[str, Sequence[tuple[list[str], list[str]]]]]
) -> Path:
    """Write a dataset repository laid out like "unimelb-nlp/wikiann" and return its folder.

    Args:
        root: the folder that :class:`LocalHub` serves.
        data: language -> split -> sentences, each the tokens and their tags (IOB2, names from ``WIKIANN_LABELS``).
            The clients store equal files once and so download them once: give each split sentences of its own.
    """
    folder = Path(root) / "datasets" / WIKIANN_ID
    words, labels = List(Value("string")), List(ClassLabel(names=WIKIANN_LABELS))
    features = Features({"tokens": words, "ner_tags": labels, "langs": words, "spans": words})
    infos, configs = "", ""
    for language, splits in data.items():
        (folder / language).mkdir(parents=True)
        infos += f"- config_name: {language!r}\n{_WIKIANN_FEATURES}  splits:\n"
        configs += f"- config_name: {language!r}\n  data_files:\n"
        for split, sentences in splits.items():
            rows = [
                {"tokens": tokens, "ner_tags": tags, "langs": [language] * len(tokens), "spans": _spans(tokens, tags)}
                for tokens, tags in sentences
            ]
            dataset = Dataset.from_list(rows, features=features)
            dataset.to_parquet(folder / language / f"{split}-00000-of-00001.parquet")
            infos += f"  - name: {split}\n    num_bytes: {dataset.data.nbytes}\n    num_examples: {len(dataset)}\n"
            configs += f"  - split: {split}\n    path: {language}/{split}-*\n"
    card = f"---\ndataset_info:\n{infos}configs:\n{configs}---\n# WikiANN\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def _spans(tokens: list[str], tags: list[str]) -> list[str]:
    """Write out the entities as WikiANN does: "PER: Julius Nyerere"."""
    spans: list[str] = []
    for token, tag in zip(tokens, tags, strict=True):
        if tag.startswith("B-"):
            spans.append(f"{tag[2:]}: {token}")
        elif tag.startswith("I-"):
            spans[-1] += f" {token}"
    return spans
