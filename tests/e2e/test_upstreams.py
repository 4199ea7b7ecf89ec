"""Upstreams: which endpoint gets new work, what befalls it, and what the client is told."""

import asyncio
import json
import os
import signal
import socket
import struct

import pytest
import websockets

from backends import EchoBackend, RawBackend, switching, unused_port, until_end
from clients import RawClient
from sluice import Proxy, connect, handshake, wait_for

WORKERS = 2


def resources(spec):
    return f"""
kind: Listener
name: ws
spec: {{address: 127.0.0.1, port: 0}}
---
kind: Upstream
name: up
spec: {json.dumps(spec)}
---
kind: Api
name: echo
spec: {{context: /echo, version: v1, endpoints: {{production: ["upstream:up"]}}, state: PROTOTYPED}}
"""


class Gateway:
    """A static proxy with one API on the Upstream `up`, of which `spec` says all."""

    def __init__(self, folder, **spec):
        self.file = folder / "gateway.yaml"
        self.file.write_text(resources(spec))
        self.proxy = Proxy(folder, static=self.file, workers=WORKERS).ready()
        self.url = self.proxy.url("/echo/v1")

    def stop(self):
        self.proxy.stop()

    def change(self, **spec):
        self.file.write_text(resources(spec))
        before = self.proxy.log().count("the resource file is in force")
        self.proxy.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.proxy.log().count("the resource file is in force") > before, "the file is read")

    def upstream(self):
        return json.loads(self.proxy.get("/upstreams?name=up")[1])[0]

    def host(self, backend):
        return next(h for h in self.upstream()["hosts"] if f":{backend.port}/" in h["url"])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.proxy.process.pid}/fd"))

    async def echo(self, query=""):
        async with connect(self.url + query) as connection:
            await connection.send("x")
            assert await connection.recv() == "x"


@pytest.fixture
def gateway(started, tmp_path):
    return lambda **spec: started(Gateway(tmp_path, **spec))


@pytest.fixture
def two(started):
    return [started(EchoBackend()), started(EchoBackend())]


def urls(backends):
    return [backend.url for backend in backends]


# ---- choosing

def test_new_connections_go_by_weight(gateway, two, run):
    up = gateway(targets=[{"url": two[0].url, "weight": 3}, {"url": two[1].url}])

    async def some():
        for _ in range(40):
            await up.echo()
    run(some())
    assert abs(len(two[0].requests) - 30) <= WORKERS * 2
    assert up.proxy.metric("sluice_cluster_endpoint_rq_total") == 40


def test_priorities_stand_in_and_step_back(gateway, two, started, run):
    spare = started(EchoBackend())
    down = unused_port()
    up = gateway(targets=[{"url": f"ws://127.0.0.1:{down}/"}, {"url": spare.url, "priority": 1}])
    run(up.echo())
    assert len(spare.requests) == 1
    up.change(targets=[{"url": two[0].url}, {"url": spare.url, "priority": 1}])
    run(up.echo())
    assert len(two[0].requests) == 1 and len(spare.requests) == 1


def test_a_hashed_value_keeps_its_endpoint_on_every_worker(gateway, two, run):
    up = gateway(endpoints=urls(two), balance="consistent_hash", hash_on="query:room")

    async def rooms():
        for room in [f"r{i}" for i in range(12)] * 3:
            await up.echo(f"?room={room}")
    run(rooms())
    seen = [{path.split("room=")[1] for path, _ in backend.requests} for backend in two]
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    assert len(two[0].requests) + len(two[1].requests) == 36


def test_least_connections_evens_out_live_ones(gateway, two, run):
    up = gateway(endpoints=urls(two), balance="least_connections")

    async def live():
        held = [await connect(up.url) for _ in range(10)]
        wait_for(lambda: len(two[0].connections) == len(two[1].connections) == 5, "five each")
        for connection in held:
            await connection.close()
    run(live())


# ---- limits

def test_a_breaker_lets_exactly_its_number_live(gateway, backend, run):
    up = gateway(endpoints=[backend.url], breakers={"websockets_max": 5})

    async def crowd():
        async def one():
            try:
                return await connect(up.url)
            except websockets.InvalidStatusCode as refusal:
                assert refusal.status_code == 503 and refusal.headers["Retry-After"] == "1"
                return None
        opened = [c for c in await asyncio.gather(*[one() for _ in range(12)]) if c]
        assert len(opened) == 5
        status, _, body = await asyncio.to_thread(handshake, up.url)
        assert (status, body["code"]) == (503, "101506")
        assert up.upstream()["websockets"] == {"active": 5, "max": 5, "refused": 8}
        await opened.pop().close()
        await asyncio.to_thread(wait_for, lambda: up.upstream()["websockets"]["active"] == 4, "one is given back")
        await up.echo()
        for connection in opened:
            await connection.send("still")
            assert await connection.recv() == "still"
            await connection.close()
    run(crowd())
    wait_for(lambda: up.upstream()["websockets"]["active"] == 0, "all are given back")
    assert up.upstream()["connections"]["active"] == 0


# ---- tries, ejection, checks

def test_a_dead_endpoint_costs_nobody_a_refusal_and_is_ejected(gateway, backend, run):
    dead = unused_port()
    up = gateway(endpoints=[f"ws://127.0.0.1:{dead}/", backend.url])

    async def some():
        for _ in range(24):
            await up.echo()
    run(some())
    host = next(h for h in up.upstream()["hosts"] if f":{dead}/" in h["url"])
    assert host["connects_failed"] == 5 and host["ejections"] == 1 and not host["well"]
    assert 25 < host["ejected_seconds_left"] <= 30
    assert up.upstream()["retries"] == 5
    assert up.proxy.metric("sluice_cluster_endpoint_outlier_ejected") == 1


def test_an_ejected_endpoint_comes_back(gateway, started, run):
    answers = []

    def script(connection, head):
        if len(answers) < 2:
            answers.append(503)
            connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
        else:
            connection.sendall(switching(head))
        until_end(connection)
    unsteady, steady = started(RawBackend(script)), started(EchoBackend())
    up = gateway(endpoints=urls([unsteady, steady]), ejection={"failures": 2, "time": "0.5s"},
                 retry={"statuses": [503]})

    def out():
        assert handshake(up.url)[0] == 101  # 503 is tried again elsewhere
        return up.host(unsteady)["ejections"] == 1
    wait_for(out, "two 503 in a row eject it")
    wait_for(lambda: handshake(up.url)[0] == 101 and len(unsteady.heads) >= 3, "it is used again")


def test_without_a_well_endpoint_the_client_is_told(gateway, backend):
    up = gateway(endpoints=[f"ws://127.0.0.1:{unused_port()}/"], ejection={"failures": 1}, panic_percent=0)
    assert handshake(up.url)[2]["code"] == "101503"
    status, _, body = handshake(up.url)
    assert (status, body["code"]) == (503, "101505")
    assert up.proxy.metric("sluice_cluster_upstream_cx_none_healthy_total") == 1


@pytest.mark.parametrize("kind", ["tcp", "http", "websocket"])
def test_health_checks_take_endpoints_out_and_back(gateway, started, kind):
    state = {"well": True}

    def script(connection, head):
        if kind == "http" and b"sluice-health-check" in head:
            connection.sendall(b"HTTP/1.1 %s X\r\nContent-Length: 0\r\n\r\n" % (b"204" if state["well"] else b"500"))
        elif not state["well"]:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(switching(head))
        until_end(connection)
    def well(connection, head):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(answer if b"sluice-health-check" in head and kind == "http" else switching(head))
        until_end(connection)
    checked, other = started(RawBackend(script)), started(RawBackend(well))
    port = checked.port
    up = gateway(endpoints=urls([checked, other]),
                 health_check={"type": kind, "interval": "0.05s", "timeout": "1s", "failures": 2,
                               **({} if kind == "tcp" else {"path": "/up?deep=1"})})
    wait_for(lambda: up.host(checked)["health"] == "healthy", "it is found healthy")
    if kind == "tcp":
        checked.stop()
    state["well"] = False
    wait_for(lambda: up.host(checked)["health"] == "unhealthy", "it is found unhealthy")
    before = len([head for head in checked.heads if b"GET /echo" in head or b"GET / " in head])
    for _ in range(6):
        assert handshake(up.url)[0] == 101
    assert len([head for head in checked.heads if b"GET /echo" in head or b"GET / " in head]) == before
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", port)):
            wait_for(lambda: up.host(checked)["health"] == "healthy", "it is found healthy again")
        return
    assert any(head.startswith(b"GET /up?deep=1 ") for head in checked.heads)
    state["well"] = True
    wait_for(lambda: up.host(checked)["health"] == "healthy", "it is found healthy again")
    wait_for(lambda: handshake(up.url)[0] == 101 and
             len([head for head in checked.heads if b"GET / " in head]) > before, "it is used again")


# ---- changes

def test_a_live_connection_stays_while_endpoints_change(gateway, two, run):
    up = gateway(endpoints=[two[0].url])

    async def live():
        async with connect(up.url) as connection:
            await connection.send("1")
            assert await connection.recv() == "1"
            await asyncio.to_thread(up.change, targets=[{"url": two[1].url, "weight": 2}], balance="least_connections",
                                    breakers={"websockets_max": 2})
            await up.echo()
            assert len(two[1].requests) == 1
            assert up.upstream()["websockets"]["active"] >= 1, "the live one still counts"
            await connection.send("2")
            assert await connection.recv() == "2"
        assert two[0].messages == ["1", "2"]
    run(live())


# ---- what befalls a back end

def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answering(text):
    def script(connection, head):
        connection.sendall(text)
        until_end(connection)
    return script


def slow(connection, head):
    connection.recv(1)


STORY = {
    "resets": (lambda connection, head: reset(connection), 503, "101503"),
    "closes": (lambda connection, head: None, 503, "101503"),
    "answers garbage": (answering(b"\x00\x01\x02 nonsense\r\n\r\n"), 503, "101503"),
    "answers half a head": (lambda connection, head: connection.sendall(b"HTTP/1.1 101 Swi"), 503, "101503"),
    "answers a false 101": (answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                      b"Connection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n"), 503, "101503"),
    "hangs": (slow, 504, "101504"),
    "answers 200": (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 200, None),
    "answers 302": (answering(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"), 302, None),
}


@pytest.mark.parametrize("what", STORY)
def test_what_a_back_end_does_is_answered_as_documented_and_leaks_nothing(gateway, started, what):
    script, status, code = STORY[what]
    backend = started(RawBackend(script))
    up = gateway(endpoints=[backend.url], handshake_timeout="0.3s")
    assert handshake(up.url)[0] == status  # whatever is opened once is open now
    before = up.descriptors()
    for _ in range(12):
        got, headers, body = handshake(up.url)
        assert got == status
        if code is None:
            assert headers.get("Location", "/login") == "/login"
        else:
            assert body["code"] == code
    assert len(backend.heads) == 13, "a single endpoint is never left out while the panic threshold stands"
    wait_for(lambda: up.descriptors() <= before, "descriptors are given back")
    now = up.upstream()
    assert [now[unit]["active"] for unit in ("connections", "pending", "websockets")] == [0, 0, 0]
    assert up.host(backend)["failed"] == (0 if code is None else 13)


def upgrading(connection, head):
    connection.sendall(switching(head))
    until_end(connection)


def test_a_back_end_is_killed_and_started_again_and_closes_without_a_frame(gateway, started):
    backend = started(RawBackend(upgrading))
    up = gateway(endpoints=[backend.url])
    before = None
    for _ in range(2):
        with RawClient(up.url) as client:
            backend.stop()
            assert client.until_close() == (1014, "backend connection lost")
        status, _, body = handshake(up.url)
        assert (status, body["code"]) == (503, "101503")
        backend = started(RawBackend(upgrading, port=backend.port))
        with RawClient(up.url):
            pass
        wait_for(lambda: up.upstream()["connections"]["active"] == 0, "connections are given back")
        before = before or up.descriptors()
    wait_for(lambda: up.descriptors() <= before, "descriptors are given back")
