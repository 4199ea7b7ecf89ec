"""A back end for HTTP APIs, by hand over sockets so that it can also misbehave, and clients to go with it."""

import json
import re
import socket
import threading


class Request:
    def __init__(self, line, headers, body):
        self.method, self.target, self.version = line.split(" ")
        self.headers = headers  # lower-case name -> list of values
        self.body = body

    def get(self, name, default=None):
        return self.headers.get(name, [default])[0]

    @property
    def path(self):
        return self.target.split("?")[0]


class Stream:
    """Reads whole messages off a socket."""

    def __init__(self, connection):
        self.socket = connection
        self.rest = b""

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the peer ended")
        self.rest += data

    def take(self, count):
        while len(self.rest) < count:
            self.more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.rest:
            self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line.decode("latin-1")

    def head(self):
        first, headers = self.line(), {}
        while line := self.line():
            name, value = line.split(":", 1)
            headers.setdefault(name.lower(), []).append(value.strip())
        return first, headers

    def chunk(self):
        data = self.take(int(self.line().split(";")[0], 16))
        if data:
            self.take(2)
        else:
            while self.line():
                pass
        return data

    def body(self, headers, to_end=False):
        if headers.get("transfer-encoding") == ["chunked"]:
            return b"".join(iter(self.chunk, b""))
        if "content-length" in headers:
            return self.take(int(headers["content-length"][0]))
        if not to_end:
            return b""
        try:
            while True:
                self.more()
        except EOFError:
            body, self.rest = self.rest, b""
            return body


def describe(request):
    """What came, as the body of an ordinary answer."""
    return json.dumps({"method": request.method, "target": request.target, "headers": request.headers,
                       "body": len(request.body)}).encode()


def answer(body=b"", status="200 OK", *lines):
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


class HttpBackend:
    """Answers each request with its description. `script(connection, request)` may do otherwise: it returns bytes to
    send, None for the description, or False to end the connection."""

    def __init__(self, script=None, on_head=None, path="/"):
        self.requests = []
        self.connections = 0
        self.live = set()
        self._script = script
        self._on_head = on_head
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self._path}"

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.live.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = Stream(connection)
        try:
            while True:
                line, headers = stream.head()
                if self._on_head is not None:
                    self._on_head(stream, line, headers)
                request = Request(line, headers, stream.body(headers))
                self.requests.append(request)
                reply = self._script(connection, request) if self._script else None
                if reply is False:
                    return
                connection.sendall(answer(describe(request)) if reply is None else reply)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.live.discard(connection)
            connection.close()

    def drop_all(self):
        """Ends every connection, as a back end that restarts does."""
        for connection in list(self.live):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()
        self._thread.join(5)


class HttpClient:
    """A connection by hand."""

    def __init__(self, port, token=None, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = Stream(self.socket)
        self._token = token

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def head(self, method, path, *lines, version="1.1", token=True):
        fields = [f"{method} {path} HTTP/{version}", "Host: api.test", *lines]
        if token and self._token:
            fields.append(f"Authorization: Bearer {self._token}")
        return "\r\n".join([*fields, "", ""]).encode()

    def send(self, data):
        self.socket.sendall(data)

    def read_head(self):
        line, headers = self.stream.head()
        return int(re.match(r"HTTP/1\.1 (\d{3})", line).group(1)), headers

    def read(self, method="GET"):
        """(status, headers, body) of the next response."""
        status, headers = self.read_head()
        bodiless = method == "HEAD" or status < 200 or status in (204, 304)
        framed = "content-length" in headers or "transfer-encoding" in headers
        return status, headers, b"" if bodiless else self.stream.body(headers, to_end=not framed)

    def ask(self, method, path, *lines, body=b"", **options):
        self.send(self.head(method, path, *lines, **options) + body)
        return self.read(method)

    def ended(self):
        """Whether the proxy has ended the connection without another byte."""
        try:
            return self.stream.rest == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
