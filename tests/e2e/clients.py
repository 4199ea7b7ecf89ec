"""Foreign and hand-made clients for the end-to-end tests."""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path

from sluice import BIN, TESTS, bearer, wait_for

HERE = Path(__file__).resolve().parent
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def parse_url(url):
    scheme, host, port, path = re.match(r"(wss?)://([^:/]+):(\d+)(.*)", url).groups()
    return scheme, host, int(port), path or "/"


def make_frame(opcode, payload=b"", fin=True, mask=True, rsv=0):
    payload = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if not mask:
        return head + payload
    key = os.urandom(4)
    stream = key * (len(payload) // 4 + 1)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stream[:len(payload)], "big")).to_bytes(
        len(payload), "big") if payload else b""
    return head + key + masked


class Frames:
    """Frames off a socket, one at a time, whoever sent them."""

    def __init__(self, connection, rest=b""):
        self.socket = connection
        self.rest = rest

    def take(self, count):
        while len(self.rest) < count:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the peer ended")
            self.rest += data
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def next(self):
        """(fin, opcode, payload, rsv); EOFError at the end."""
        first, second = self.take(2)
        size = second & 0x7f
        if size == 126:
            size = struct.unpack("!H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.take(8))[0]
        key = self.take(4) if second & 0x80 else b""
        payload = self.take(size)
        if key:
            payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
        return bool(first & 0x80), first & 0x0f, payload, first >> 4 & 7


class RawClient:
    """A WebSocket by hand, frame by frame, so that it can also do what no library does."""

    def __init__(self, url, token=None, headers=None, timeout=15):
        _, host, port, path = parse_url(url)
        self.socket = socket.create_connection((host, port), timeout)
        fields = {"Host": f"{host}:{port}", "Connection": "Upgrade", "Upgrade": "websocket",
                  "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                  **bearer(token), **(headers or {})}
        lines = [f"GET {path} HTTP/1.1", *[f"{k}: {v}" for k, v in fields.items()], "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(65536)
            assert data, f"the handshake was not answered; got {head!r}"
            head += data
        head, rest = head.split(b"\r\n\r\n", 1)
        self.status = int(head.split(b" ", 2)[1])
        self.headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        self.frames = Frames(self.socket, rest)
        assert self.status == 101, (head, rest)

    def send(self, opcode, payload=b"", **options):
        self.socket.sendall(make_frame(opcode, payload, **options))

    def next(self):
        return self.frames.next()

    def until_close(self, answer_pings=False):
        """(code, reason) of the close frame; what comes before it is passed over."""
        while True:
            _, opcode, payload, _ = self.next()
            if opcode == PING and answer_pings:
                self.send(PONG, payload)
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                return code, payload[2:].decode()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def raw_request(port, request, timeout=15):
    """(status, headers, body) of bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(request)
        return read_response(connection)


def read_response(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    try:
        return response.status, dict(response.getheaders()), json.loads(body)
    except ValueError:
        return response.status, dict(response.getheaders()), body


class NodeClient:
    """A client of Node's `ws`; it says what happens as events and does what it is told."""

    def __init__(self, url, token=None, headers=None, protocols=(), deflate=False, ca=None):
        options = {"url": url, "headers": {**bearer(token), **(headers or {})}, "protocols": list(protocols),
                   "deflate": deflate, "ca": str(ca) if ca else None}
        self.events = []
        self._process = subprocess.Popen(["node", HERE / "node" / "client.mjs", json.dumps(options)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def event(self, kind, seconds=15.0, number=1):
        """The first (or `number`th) event of a kind."""
        def seen():
            found = [e for e in self.events if e["event"] == kind]
            return found[number - 1] if len(found) >= number else None
        return wait_for(seen, lambda: f"{kind} {number} among {self.events[-20:]}", seconds)

    def messages(self):
        return [e["data"] for e in self.events if e["event"] == "message"]

    def tell(self, **command):
        """send=TEXT, fragments=[TEXT...], ping=TEXT, close=[CODE, REASON] or end=True."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Ledger:
    """bench_load's ledger running in the background: what became of every message of every connection."""

    def __init__(self, urls, tokens=None, connections=1, interval_ms=None, depth=None, ca=None, folder=None,
                 arguments=()):
        command = [TESTS / "bench_load", "ledger", "--urls", ",".join(urls), "--connections", connections,
                   "--events", "--json", *arguments]
        if tokens:
            path = Path(folder) / f"tokens-{id(self)}"
            path.write_text("\n".join(tokens) + "\n")
            command += ["--tokens", path]
        if interval_ms:
            command += ["--interval-ms", interval_ms]
        if depth:
            command += ["--depth", depth]
        if ca:
            command += ["--ca", ca]
        self.closed = {}    # id -> event
        self.opened = None
        self.report = None
        self._process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            event = json.loads(line)
            if event.get("event") == "closed":
                self.closed[event["id"]] = event
            elif event.get("event") == "open":
                self.opened = event
            else:
                self.report = event

    def wait_open(self, seconds=60.0):
        """Until every connection has been opened or refused; how many are open."""
        def known():
            assert self._process.poll() is None or self.opened, self._process.stderr.read()
            return self.opened
        return wait_for(known, "the ledger's connections are open", seconds)["connections"]

    def finish(self, seconds=60.0):
        """Ends it, and its report."""
        if self._process.poll() is None:
            self._process.stdin.close()
        wait_for(lambda: self._process.poll() is not None, "the ledger ends", seconds)
        self._reader.join(10)
        assert self.report, self._process.stderr.read()
        return self.report

    def stop(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(5)


def nothing_lost(line):
    """Whether a ledger's line (or the report as a whole) tells of a whole conversation."""
    return all(line[count] == 0 for count in ("lost", "outstanding", "reordered", "doubled", "corrupt"))


class Ctl:
    """sluicectl against one control plane, with a session of its own."""

    def __init__(self, control, folder):
        self.env = {**os.environ, "SLUICE_SERVER": f"https://127.0.0.1:{control.door}",
                    "SLUICE_SESSION": str(Path(folder) / "session.json"), "HOME": str(folder)}
        for name in ("SLUICE_TOKEN", "SLUICE_CA"):
            self.env.pop(name, None)

    def run(self, *arguments, stdin="", seconds=40):
        """(exit status, stdout, stderr)."""
        done = subprocess.run([str(BIN / "sluicectl"), *[str(a) for a in arguments]], input=stdin,
                              capture_output=True, text=True, env=self.env, timeout=seconds)
        return done.returncode, done.stdout, done.stderr

    def __call__(self, *arguments, stdin=""):
        """stdout of a command that must succeed."""
        status, out, error = self.run(*arguments, stdin=stdin)
        assert status == 0, (arguments, status, out, error)
        return out

    def refused(self, *arguments, stdin="", status=1):
        """stderr of a command that must fail."""
        got, out, error = self.run(*arguments, stdin=stdin)
        assert got == status, (arguments, got, out, error)
        return error

    def start(self, *arguments):
        """A process with pipes, for `ws`."""
        return subprocess.Popen([str(BIN / "sluicectl"), *[str(a) for a in arguments]], env=self.env,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def presented_certificate(port, host="localhost"):
    """The leaf certificate that a TLS port presents, DER."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return secure.getpeercert(binary_form=True)


def make_certificate(folder, name="localhost"):
    """(certificate PEM, key PEM) of a self-signed certificate for localhost."""
    certificate, key = Path(folder) / f"{name}.pem", Path(folder) / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate.read_text(), key.read_text()
