"""Real processes for the end-to-end tests: control plane and proxy, and the simplest ways to talk to them.

Every program runs on free ports in a folder of the test's own and is ended with the test. Nothing here
sleeps for a fixed time: `wait_for` polls a condition under a deadline.
"""

import atexit
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import websockets

BUILD = Path(os.environ.get("SLUICE_BUILD", Path(__file__).resolve().parents[2] / "build" / "release"))
BIN = BUILD / "bin"
TESTS = BUILD / "tests"
PASSWORD = "correct horse battery"
# Deadlines are multiplied by it: for sanitizer builds and busy machines.
PATIENCE = float(os.environ.get("SLUICE_PATIENCE", "1"))


def wait_for(condition, what, seconds=10.0):
    """The first true value of `condition()`, which is asked every 10 ms. `what`: words, or what gives them."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


class Program:
    """A process that says `listening NAME ADDR:PORT` on stderr for each of its ports."""

    def __init__(self, name, command, folder, env=None, stdout=None):
        self.name = name
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports = {}
        self.lines = []
        self._out = open(self.folder / f"{name}.stdout", "ab") if stdout is None else stdout
        self.process = subprocess.Popen(
            [str(c) for c in command], stdout=self._out, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})})
        atexit.register(self.process.kill)  # whatever becomes of the test; does nothing to one that has ended
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with open(self.folder / f"{self.name}.log", "ab") as log:
            for raw in self.process.stderr:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace")
                self.lines.append(line)
                match = re.search(r"listening (\S+) (\S+):(\d+)\s*$", line)
                if match:
                    self.ports[match.group(1)] = int(match.group(3))

    def log(self):
        return "".join(self.lines)

    def said(self, text, seconds=10.0):
        return wait_for(lambda: any(text in line for line in list(self.lines)),
                        lambda: f"{self.name} says {text!r}; it said:\n{self.log()[-2000:]}", seconds)

    def port(self, name, seconds=15.0):
        def known():
            if name not in self.ports and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            return self.ports.get(name)
        return wait_for(known, f"{self.name} listens on {name}", seconds)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """kill -9."""
        if self.alive():
            self.process.kill()
        self.process.wait()
        self._reader.join(5)

    def terminate(self, seconds=10.0):
        """TERM, and its exit status."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise AssertionError(f"{self.name} did not end on TERM:\n{self.log()[-3000:]}") from error
        finally:
            self._reader.join(5)

    def stop(self):
        """However it ends; for fixtures."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join(5)


class CallError(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.code = body.get("code") if isinstance(body, dict) else None
        self.message = body.get("message", "") if isinstance(body, dict) else str(body)


class ControlPlane(Program):
    def __init__(self, folder, arguments=(), ports=(0, 0)):
        self.data = Path(folder) / "control-data"
        super().__init__(
            "control",
            [BIN / "sluice-control", "--data-dir", self.data, "--http", f"127.0.0.1:{ports[0]}",
             "--grpc", f"127.0.0.1:{ports[1]}", *arguments],
            folder, env={"SLUICE_ADMIN_PASSWORD": PASSWORD})
        self.door = self.port("door")
        self.grpc = self.port("grpc")
        self.ca = self.data / "tls" / "ca.pem"
        self.context = ssl.create_default_context(cafile=str(self.ca))
        self.token = None

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body bytes)."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.door, context=self.context, timeout=40)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def call(self, method, request=None, token=None):
        """A Connect call such as call("ApiService/GetApi", {"name": "x"})."""
        headers = {"Content-Type": "application/json"}
        token = token or self.token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        status, _, body = self.request("POST", f"/sluice.admin.v1.{method}", json.dumps(request or {}), headers)
        decoded = json.loads(body) if body else {}
        if status != 200:
            raise CallError(status, decoded)
        return decoded

    def login(self):
        self.token = self.call("AuthService/Login", {"user": "admin", "password": PASSWORD})["token"]
        return self

    def apply(self, *manifests, **options):
        return self.call("ResourceService/Apply", {"manifests": list(manifests), **options})

    def wait_rollout(self, revision, seconds=10):
        status = self.call("RolloutService/Wait",
                           {"revision": str(revision), "group": "default", "timeoutMs": int(seconds * PATIENCE * 1000)})
        assert status.get("complete"), status
        return status

    def join_token(self, group="default", uses=1):
        return self.call("ProxyService/CreateJoinToken", {"group": group, "uses": uses})["token"]

    def publish(self, name, endpoint, context=None, plans=("Gold", "Silver", "Bronze", "Unlimited"), **spec):
        """Makes and publishes a WebSocket API; returns the revision."""
        fields = {"context": context or f"/{name}", "version": "v1.0", "type": "WS",
                  "endpoints": {"production": [endpoint], "sandbox": [endpoint]}, "plans": list(plans), **spec}
        self.call("ApiService/CreateApi", {"api": {"name": name, "spec": fields}})
        return int(self.call("ApiService/ChangeApiState", {"name": name, "action": "publish"})["revision"])

    def subscribe(self, application, api, plan="Gold", application_plan="Unlimited"):
        """Makes the application if needed, and the subscription; returns the revision."""
        try:
            self.call("ApplicationService/CreateApplication",
                      {"application": {"name": application, "spec": {"plan": application_plan}}})
        except CallError as error:
            if error.code != "already_exists":
                raise
        return int(self.call("SubscriptionService/CreateSubscription", {"subscription": {
            "name": f"{application}:{api}",
            "spec": {"application": application, "api": api, "plan": plan}}})["revision"])

    def keys(self, application, key_type="PRODUCTION"):
        return self.call("CredentialService/GenerateKeys", {"application": application, "keyType": key_type})

    def issue(self, application, key_type="PRODUCTION", validity=3600):
        """An access token by the admin service; keys must exist."""
        return self.call("TokenService/IssueToken", {"application": application, "keyType": key_type,
                                                     "validityS": str(validity)})["accessToken"]


class Proxy(Program):
    """A proxy under a control plane, joined; or static with static=FILE."""

    def __init__(self, folder, control=None, static=None, node="proxy-1", workers=2, arguments=(), listen=(),
                 name="proxy", drain=("0s", "1s"), join=True, wrapper=()):
        """`wrapper`: a command to run it under; `join`: False for one without a join token, or the token."""
        folder = Path(folder)
        self.data = folder / f"{name}-data"
        self.access_log = folder / f"{name}.access.jsonl"
        command = [*wrapper, BIN / "sluice-proxy", "--data-dir", self.data, "--workers", workers, "--admin",
                   "127.0.0.1:0", "--access-log", self.access_log, "--drain-delay", drain[0],
                   "--drain-time", drain[1]]
        listeners = dict(listen) or ({"ws": 0} if static else {"ws": 0, "wss": 0})
        for listener, port in listeners.items():
            command += ["--listen", f"{listener}=127.0.0.1:{port}"]
        if static:
            command += ["--static", static]
        else:
            command += ["--control", f"127.0.0.1:{control.grpc}", "--node-id", node]
            if join and not (self.data / "tls").exists():
                token_file = folder / f"{name}.join-token"
                token_file.write_text(control.join_token() if join is True else join)
                command += ["--join-token-file", token_file]
        super().__init__(name, [*command, *arguments], folder)

    @property
    def admin(self):
        return self.port("admin")

    def get(self, path):
        """(status, text) of an admin endpoint."""
        return http_call(self.admin, "GET", path)

    def post(self, path, token=None):
        """As get; with the admin token unless another is given."""
        token = token or (self.data / "admin-token").read_text().strip()
        return http_call(self.admin, "POST", path, bearer(token))

    def ready(self, seconds=15.0):
        def is_ready():
            if not self.alive():
                raise AssertionError(f"proxy ended:\n{self.log()}")
            try:
                return self.get("/ready")[0] == 200
            except OSError:
                return False  # it is ending, which the next turn tells
        wait_for(is_ready, lambda: f"proxy is ready:\n{self.log()[-2000:]}", seconds)
        return self

    def metric(self, name):
        """Sum of a metric's samples."""
        total = 0.0
        for line in self.get("/stats/prometheus")[1].splitlines():
            if re.match(rf"{re.escape(name)}(\{{|\s)", line):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def log_entries(self, connection_id=None):
        """The access log; with an id, what it says of that one."""
        if not self.access_log.exists():
            return []
        text = self.access_log.read_text()
        entries = [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines() if line]
        return [e for e in entries if connection_id is None or e.get("id") == connection_id]

    def url(self, path, listener="ws"):
        scheme = "wss" if listener == "wss" else "ws"
        return f"{scheme}://127.0.0.1:{self.port(listener)}{path}"


def http_call(port, method, path, headers=None, body=None):
    """(status, text) of a plain HTTP call on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def bearer(token):
    return {"Authorization": f"Bearer {token}"} if token else {}


def connect(url, token=None, headers=None, ca=None, **options):
    """An async context manager: a client connection of the `websockets` library."""
    if url.startswith("wss:"):
        options["ssl"] = ssl.create_default_context(cafile=str(ca))
    options.setdefault("ping_interval", None)
    options.setdefault("compression", None)
    return websockets.connect(url, extra_headers={**bearer(token), **(headers or {})}, **options)


def handshake(url, token=None, headers=None, **options):
    """(status, headers, JSON body) of a handshake that is refused, by a plain HTTP client."""
    match = re.match(r"ws://([^:/]+):(\d+)(/.*)", url)
    connection = http.client.HTTPConnection(match.group(1), int(match.group(2)), timeout=15)
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
              "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **bearer(token), **(headers or {})}
    fields = {k: v for k, v in fields.items() if v is not None}
    try:
        connection.request(options.get("method", "GET"), match.group(3), headers=fields)
        response = connection.getresponse()
        body = response.read() if response.status != 101 else b""
        try:
            decoded = json.loads(body)
        except ValueError:
            decoded = body
        return response.status, dict(response.getheaders()), decoded
    finally:
        connection.close()
