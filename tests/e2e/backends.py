"""Back ends for the end-to-end tests: well-behaved ones, scripted ones that are not, and one for large numbers."""

import asyncio
import base64
import hashlib
import re
import socket
import threading

import websockets

from sluice import TESTS, Program


class EchoBackend:
    """A WebSocket server of the Python `websockets` library in a thread; remembers what it saw.

    `handler(connection)` replaces the echo."""

    def __init__(self, handler=None, **options):
        self.requests = []   # (path, headers)
        self.messages = []
        self.closes = []     # (code, reason) as the backend saw them
        self.connections = set()
        self._handler = handler or self.echo
        self._options = options
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)

        async def begin():
            self._server = await websockets.serve(self._serve, "127.0.0.1", 0, ping_interval=None,
                                                  max_size=None, **self._options)
            self.port = self._server.sockets[0].getsockname()[1]
            self._ready.set()
        self._loop.run_until_complete(begin())
        self._loop.run_forever()

    async def _serve(self, connection):
        self.requests.append((connection.path, connection.request_headers))
        self.connections.add(connection)
        try:
            await self._handler(connection)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)
            await connection.wait_closed()
            self.closes.append((connection.close_code, connection.close_reason))

    async def echo(self, connection):
        async for message in connection:
            self.messages.append(message)
            await connection.send(message)

    async def sink(self, connection):
        async for message in connection:
            self.messages.append(message)

    def run(self, coroutine):
        """Runs a coroutine on the backend's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def stop(self):
        if not self._thread.is_alive():
            return

        async def end():
            self._server.close()
            await self._server.wait_closed()
        try:
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)


def sink_backend(**options):
    """One that takes messages and never answers."""
    async def handler(connection):
        await backend.sink(connection)
    backend = EchoBackend(handler, **options)
    return backend


def accept_value(head):
    key = re.search(rb"(?im)^sec-websocket-key: *(\S+)", head).group(1)
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


def switching(head, *lines):
    """A 101 for the handshake's head, with further header lines."""
    fields = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
              f"Sec-WebSocket-Accept: {accept_value(head)}", *lines, "", ""]
    return "\r\n".join(fields).encode()


class RawBackend:
    """A TCP server: `script(connection, head)` runs in a thread for each connection, once a head has come."""

    def __init__(self, script, port=0):
        self.heads = []
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._open = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            self.heads.append(head)
            self._script(connection, head)
        except (OSError, EOFError):
            pass
        finally:
            connection.close()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def stop(self):
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(5)


def until_end(connection):
    """Everything that still comes on a socket."""
    received = b""
    while True:
        data = connection.recv(65536)
        if not data:
            return received
        received += data


class BenchBackend(Program):
    """The echo of tests/bench, for thousands of connections."""

    def __init__(self, folder, workers=1):
        super().__init__("backend", [TESTS / "bench_backend", "127.0.0.1:0", workers], folder)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port('backend')}/"


def unused_port():
    """A port on which nothing listens: one that was just given back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
