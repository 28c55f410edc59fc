"""A small Hub on 127.0.0.1: what the real huggingface_hub client asks for when it pushes and pulls models.

A client finds it through the environment variables HF_ENDPOINT and HF_HUB_DISABLE_XET=1, which it reads when it is
imported. Files then travel like this:

    push    POST /api/repos/create                               make the repository
            POST /api/validate-yaml                              check the metadata of README.md
            POST /api/models/NAME/preupload/BRANCH               which files go through LFS?
            POST /NAME.git/info/lfs/objects/batch                where do they go? (not asked for files it has)
            PUT  /upload/NAME/SHA256, POST /verify/NAME          the bytes of each
            POST /api/models/NAME/commit/BRANCH                  all other files, and the names of these: one commit
    pull    GET  /api/models/NAME[/revision/REVISION]            which commit is that?
            GET  /api/models/NAME/tree/REVISION[/FOLDER]         which files are there?
            HEAD, GET /NAME/resolve/REVISION/PATH                what is the hash of a file? its bytes
"""

import base64
import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

# Larger ones and weights go through LFS.
LFS_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
LFS_BYTES = 10_000_000


@dataclass
class Commit:
    message: str
    files: dict[str, bytes]  # all files of the repository after it, by path

    @cached_property
    def sha(self):
        digest = hashlib.sha1(self.message.encode())
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + content)
        return digest.hexdigest()


@dataclass
class Repository:
    name: str
    is_private: bool
    branches: dict[str, list[Commit]] = field(default_factory=lambda: {"main": [Commit("initial commit", {})]})
    # Faults to put in: "refuse commit", "drop upload".
    faults: set[str] = field(default_factory=set)

    @property
    def files(self):
        return self.branches["main"][-1].files

    @property
    def messages(self):
        return [commit.message for commit in self.branches["main"]]

    def find(self, revision):
        """Return the commit that a branch or a hash names."""
        if revision in self.branches:
            return self.branches[revision][-1]
        for commits in self.branches.values():
            for commit in commits:
                if commit.sha == revision:
                    return commit
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")


class Refusal(Exception):
    """An answer that is no success: the client tells errors apart by the code in the header X-Error-Code."""

    def __init__(self, status, code="", message=""):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class LoopbackHub:
    """The server; as a context manager it runs in a thread.

    Args:
        tokens: The user and the role, "write" or "read", of each token that is known.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.repositories = {}
        self.blobs = {}  # what came through LFS, by its SHA-256
        self.requests = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, *faults, is_private=False):
        """Make a repository, and put faults into it."""
        self.repositories[name] = Repository(name, is_private, faults=set(faults))

    def environment(self, home):
        """Return the environment variables of a process whose Hub this is, with a home folder of its own."""
        here = {"HF_ENDPOINT": self.endpoint, "NO_PROXY": "127.0.0.1"}
        return {**here, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)}


class Handler(BaseHTTPRequestHandler):
    """Answers one request: the method whose pattern fits the path gets the parts in brackets."""

    protocol_version = "HTTP/1.1"
    hub = property(lambda self: self.server.hub)

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length", 0))
        try:
            for verbs, pattern, method in ROUTES:
                found = re.fullmatch(pattern, path)
                if self.command in verbs and found:
                    if method is not Handler.upload:  # which reads as much as it likes
                        self.body = self.rfile.read(length)
                    method(self, *found.groups())
                    return
            raise Refusal(404, message=f"this Hub does not know {self.command} {path}")
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self.send(
                {"error": refusal.message}, refusal.status, {name: text for name, text in headers.items() if text}
            )

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def send(self, content, status=200, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass

    @property
    def json(self):
        return json.loads(self.body)

    # Who is it, and what may they do?

    def account(self):
        """Return the name and role of the one who asks, or (None, None) of anybody."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        return self.hub.tokens.get(token, (None, None))

    def readable(self, name):
        """Return a repository that the one who asks may read; a private one is not there for others."""
        user, _ = self.account()
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.is_private and not name.startswith(f"{user}/")):
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return repository

    def writable(self, name):
        repository = self.readable(name)
        self.check_may_write(name)
        return repository

    def check_may_write(self, name):
        user, role = self.account()
        if user is None:
            raise Refusal(401, message="Invalid username or password.")
        if role != "write" or not name.startswith(f"{user}/"):
            raise Refusal(403, message=f"You don't have the rights to write to {name}")

    def whoami(self):
        name, role = self.account()
        if name is None:
            raise Refusal(401, message="Invalid username or password.")
        self.send({"type": "user", "name": name, "orgs": [], "auth": {"accessToken": {"role": role}}})

    # Push

    def create(self):
        asked = self.json
        name = f"{asked['organization'] or self.account()[0]}/{asked['name']}"
        self.check_may_write(name)
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repositories:
            self.send({"error": "You already created this model repo", **url}, 409)
            return
        self.hub.add(name, is_private=asked.get("visibility") == "private")
        self.send(url)

    def create_branch(self, name, branch):
        branches = self.writable(name).branches
        if branch in branches:
            raise Refusal(409, message=f"Reference already exists: {branch}")
        branches[branch] = [*branches["main"]]
        self.send({})

    def validate_yaml(self):
        metadata = re.match(r"---\n(.*?)\n---\n", self.json["content"], re.DOTALL)
        try:
            is_mapping = metadata is not None and isinstance(yaml.safe_load(metadata[1]), dict)
        except yaml.YAMLError:
            is_mapping = False
        errors = [] if is_mapping else [{"message": "the metadata of README.md is no YAML mapping"}]
        self.send({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name, branch):
        files = self.writable(name).find(branch).files
        answers = []
        for asked in self.json["files"]:
            path, known = asked["path"], files.get(asked["path"])
            is_large = path.endswith(LFS_ENDINGS) or asked["size"] > LFS_BYTES
            answer = {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            answers.append(answer if known is None else {**answer, "oid": blob_hash(path, known)})
        self.send({"files": answers})

    def batch(self, name):
        self.writable(name)
        objects = []
        for asked in self.json["objects"]:
            upload = {"href": f"{self.hub.endpoint}/upload/{name}/{asked['oid']}"}
            verify = {"href": f"{self.hub.endpoint}/verify/{name}"}
            is_known = asked["oid"] in self.hub.blobs
            objects.append(asked if is_known else {**asked, "actions": {"upload": upload, "verify": verify}})
        self.send({"transfer": "basic", "objects": objects})

    def upload(self, name, oid):
        length = int(self.headers["Content-Length"])
        if "drop upload" in self.hub.repositories[name].faults:
            self.rfile.read(length // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        content = self.rfile.read(length)
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, message="what arrived has another SHA-256")
        self.hub.blobs[oid] = content
        self.send({})

    def verify(self, name):
        self.writable(name)
        if len(self.hub.blobs[self.json["oid"]]) != self.json["size"]:
            raise Refusal(400, message="what arrived has another size")
        self.send({})

    def commit(self, name, branch):
        repository = self.writable(name)
        if "refuse commit" in repository.faults:
            raise Refusal(403, message="You don't have the rights to commit")
        header, *changes = [json.loads(line) for line in self.body.splitlines()]
        files = dict(repository.find(branch).files)
        for change in changes:
            value = change["value"]
            if change["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                assert change["key"] == "file", f"this Hub only takes files, not {change['key']}"
                files[value["path"]] = base64.b64decode(value["content"])
        commit = Commit(header["value"]["summary"], files)
        answer = {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit.sha}", "commitOid": commit.sha}
        if "create_pr=1" in urlsplit(self.path).query:
            number = 1 + sum(branch.startswith("refs/pr/") for branch in repository.branches)
            branch, before = f"refs/pr/{number}", repository.branches[branch]
            repository.branches[branch] = [*before]
            answer["pullRequestUrl"] = f"{self.hub.endpoint}/{name}/discussions/{number}"
        repository.branches[branch].append(commit)
        self.send(answer)

    # Pull

    def model_info(self, name, revision="main"):
        commit = self.readable(name).find(revision)
        siblings = [{"rfilename": path} for path in commit.files]
        self.send({"id": name, "sha": commit.sha, "siblings": siblings, "tags": []})

    def tree(self, name, revision, folder):
        prefix = f"{folder.strip('/')}/" if folder else ""
        files = {path: content for path, content in self.readable(name).find(revision).files.items()}
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": blob_hash(path, content)}
            for path, content in files.items()
            if path.startswith(prefix)
        ]
        if prefix and not entries:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        self.send(entries)

    def resolve(self, name, revision, path):
        commit = self.readable(name).find(revision)
        headers = {"X-Repo-Commit": commit.sha}
        if path not in commit.files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        content = commit.files[path]
        self.send(content, headers={**headers, "ETag": f'"{blob_hash(path, content)}"'})


def blob_hash(path, content):
    """Return the hash by which the Hub and the client know a file: its SHA-256 in LFS, else that of git."""
    if path.endswith(LFS_ENDINGS) or len(content) > LFS_BYTES:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


NAME = r"([^/]+/[^/]+?)"
REVISION = r"(refs/pr/\d+|[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("POST", f"/api/models/{NAME}/branch/(.+)", Handler.create_branch),
    ("POST", f"/api/models/{NAME}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", f"/upload/{NAME}/([0-9a-f]+)", Handler.upload),
    ("POST", f"/verify/{NAME}", Handler.verify),
    ("POST", f"/api/models/{NAME}/commit/(.+)", Handler.commit),
    ("GET", f"/api/models/{NAME}/tree/{REVISION}(/.+)?", Handler.tree),
    ("GET", f"/api/models/{NAME}/revision/(.+)", Handler.model_info),
    ("GET", f"/api/models/{NAME}", Handler.model_info),
    ("GET HEAD", f"/{NAME}/resolve/{REVISION}/(.+)", Handler.resolve),
]
