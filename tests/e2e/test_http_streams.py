"""APIs of type HTTP: bodies that stream, back ends that misbehave, and drain."""

import json
import signal
import socket
import threading
import time

import pytest

from backends import unused_port
from http_backend import HttpBackend, answer
from http_gateway import CHUNKED, OTHER, TOKEN, Gateway, code_of, endpoints, manifest, token
from sluice import wait_for


@pytest.fixture
def own(tmp_path, started):
    """A gateway of the test's own: own(backend, **spec) serves it as /own/v1."""
    def make(backend, *more, **spec):
        return started(Gateway(tmp_path, {"own": {**endpoints(backend.url), **spec}}, *more, workers=1))
    return make


# ---- streams

def test_a_body_goes_up_while_the_response_comes_down(own, started):
    def on_head(stream, line, headers):
        stream.socket.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := stream.chunk():
            stream.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data.upper()))
        stream.socket.sendall(b"0\r\n\r\n")
        raise EOFError
    gateway = own(started(HttpBackend(on_head=on_head)))
    with gateway.client() as client:
        client.send(client.head("POST", "/own/v1/", CHUNKED.strip()))
        assert client.read_head()[0] == 200
        for word in (b"one", b"two", b"three"):
            client.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert client.stream.chunk() == word.upper()
        client.send(b"0\r\n\r\n")
        assert client.stream.chunk() == b""


def test_100_continue_comes_from_the_backend(own, started):
    def on_head(stream, line, headers):
        if headers.get("expect"):
            stream.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    gateway = own(started(HttpBackend(on_head=on_head)))
    with gateway.client() as client:
        client.send(client.head("POST", "/own/v1/", "Expect: 100-continue", "Content-Length: 5"))
        assert client.read_head()[0] == 100
        client.send(b"hello")
        status, _, body = client.read()
        assert status == 200 and json.loads(body)["body"] == 5
        # A refusal comes instead of the 100, and the body is not asked for.
        status, headers, _ = client.ask("POST", "/own/v1/", "Expect: 100-continue", "Content-Length: 5", token=False)
        assert (status, headers["connection"]) == (401, ["close"])


def test_an_early_response_ends_the_upload(own, started):
    def on_head(stream, line, headers):
        stream.socket.sendall(answer(b"enough", "403 Forbidden", "Connection: close"))
        stream.socket.shutdown(socket.SHUT_WR)
        while stream.socket.recv(65536):
            pass
        raise EOFError
    gateway = own(started(HttpBackend(on_head=on_head)))
    with gateway.client() as client:
        client.send(client.head("POST", "/own/v1/", "Content-Length: 1000000") + bytes(1000))
        status, headers, body = client.read()
        assert (status, body, headers["connection"]) == (403, b"enough", ["close"])
        assert client.ended()


def test_events_pass_at_once_and_end_when_the_token_is_revoked(own, started):
    go_on = threading.Event()

    def events(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for n in range(1000):
            connection.sendall(b"data: %d\n\n" % n)
            go_on.wait(0.02)
        return False
    gateway = own(started(HttpBackend(events)))
    with gateway.client() as client, gateway.client(OTHER) as other:
        for one in (client, other):
            one.send(one.head("GET", "/own/v1/"))
            assert one.read_head()[1]["content-type"] == ["text/event-stream"]
            assert one.stream.chunk() == b"data: 0\n\n"
        wait_for(lambda: len(json.loads(gateway.proxy.get("/connections")[1])) == 2, "both are listed")
        gateway.tokens[0] = token(TOKEN, revoked=True)
        gateway.reload()
        with pytest.raises((EOFError, ConnectionError)):
            while client.stream.chunk():
                pass
        for _ in range(20):
            assert other.stream.chunk().startswith(b"data: ")
    go_on.set()
    wait_for(lambda: gateway.proxy.metric("sluice_http_requests_cut_total") == 1, "it is counted")


def test_a_large_response_waits_for_a_slow_reader(own, started):
    size, piece = 50_000_000, 100_000
    sent = []

    def large(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // piece):
            connection.sendall(bytes(piece))
            sent.append(time.monotonic())
        return b""
    gateway = own(started(HttpBackend(large)))
    with gateway.client() as client:
        client.send(client.head("GET", "/own/v1/"))
        assert client.read_head()[0] == 200
        wait_for(lambda: sent and time.monotonic() - sent[-1] > 0.3, "the back end is held back")
        assert len(sent) * piece < size / 2
        left = size - len(client.stream.rest)
        while left > 0:
            left -= len(client.socket.recv(left))
        client.stream.rest = b""
        assert client.ask("GET", "/own/v1/", token=False)[0] == 401, "the connection goes on"


# ---- back ends that misbehave

def test_a_dead_kept_connection_is_replaced(own, started):
    backend = started(HttpBackend())
    gateway = own(backend)
    with gateway.client() as client:
        for _ in range(3):
            assert client.ask("GET", "/own/v1/")[0] == 200
            backend.drop_all()
        assert client.ask("GET", "/own/v1/")[0] == 200


def test_only_what_may_be_asked_twice_is(own, started):
    def once(connection, request):
        backend.served = getattr(backend, "served", 0) + 1
        return None if backend.served % 2 else False  # the second request of each pair is dropped
    backend = started(HttpBackend(once))
    gateway = own(backend)
    with gateway.client() as client:
        assert client.ask("GET", "/own/v1/1")[0] == 200
        assert client.ask("GET", "/own/v1/2")[0] == 200, "asked again on a fresh connection"
        wait_for(lambda: gateway.proxy.metric("sluice_http_requests_retried_total") == 1, "it is counted")
        status, _, body = client.ask("POST", "/own/v1/3", "Content-Length: 1", body=b"x")
        assert (status, code_of(body)) == (503, "101503")
        assert [r.path for r in backend.requests].count("/3") == 1


BAD_RESPONSES = {
    "garbage": b"SSH-2.0-OpenSSH\r\n\r\n", "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-", "nothing": b"",
}


@pytest.mark.parametrize("case", BAD_RESPONSES)
def test_a_response_that_is_none_is_503(own, started, case):
    def bad(connection, request):
        connection.sendall(BAD_RESPONSES[case])
        return False
    gateway = own(started(HttpBackend(bad)))
    with gateway.client() as client:
        status, _, body = client.ask("GET", "/own/v1/")
        assert (status, code_of(body)) == (503, "101503")
        assert client.ask("GET", "/own/v1/", token=False)[0] == 401, "the connection goes on"


def test_a_response_that_breaks_off_is_not_made_whole(own, started):
    def broken(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        return False
    gateway = own(started(HttpBackend(broken)))
    with gateway.client() as client:
        client.send(client.head("GET", "/own/v1/"))
        _, headers = client.read_head()
        assert client.stream.chunk() == b"hello"
        with pytest.raises((EOFError, ConnectionError)):
            client.stream.chunk()
    entry, = gateway.logged(headers["x-request-id"][0])
    assert entry["status"] == 200 and entry["close_side"] == "BACKEND"


def test_bytes_behind_a_response_are_nobodys_answer(own, started):
    def twice(connection, request):
        return answer(b"right") + answer(b"wrong")
    gateway = own(started(HttpBackend(twice)))
    with gateway.client() as client:
        for _ in range(3):
            assert client.ask("GET", "/own/v1/")[2] == b"right"


def test_bodies_by_status_and_length(own, started):
    replies = {"/204": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
               "/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
               "/hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(b"ok")}
    backend = started(HttpBackend(lambda connection, request: replies[request.path]))
    gateway = own(backend)
    with gateway.client() as client:
        status, headers, _ = client.ask("GET", "/own/v1/204")
        assert status == 204 and "content-length" not in headers and "transfer-encoding" not in headers
        assert client.ask("GET", "/own/v1/304")[0] == 304
        assert client.ask("GET", "/own/v1/hints")[0] == 103
        assert client.read()[2] == b"ok"


def test_another_endpoint_is_asked_where_the_first_answers_badly(own, started):
    bad = started(HttpBackend(lambda connection, request: answer(b"ill", "503 Service Unavailable")))
    good = started(HttpBackend())
    gateway = own(good, manifest("Upstream", "two", endpoints=[bad.url, good.url],
                                 retry={"statuses": [503], "budget_min": 10}), **endpoints("upstream:two"))
    with gateway.client() as client:
        assert [client.ask("GET", "/own/v1/")[0] for _ in range(4)] == [200] * 4
        posted = [client.ask("POST", "/own/v1/", "Content-Length: 1", body=b"x")[0] for _ in range(2)]
        assert sorted(posted) == [200, 503], "what may not be asked twice is not"


def test_nobody_there_is_503_and_too_slow_504(own, tmp_path, started):
    release = threading.Event()
    slow = started(HttpBackend(lambda connection, request: release.wait(10) and None))
    gateway = own(slow, manifest("Upstream", "slow", endpoints=[slow.url], request_timeout="0.3s"),
                  **endpoints("upstream:slow"))
    with gateway.client() as client:
        status, _, body = client.ask("GET", "/own/v1/")
        assert (status, code_of(body)) == (504, "101504")
        release.set()
        assert client.ask("GET", "/own/v1/")[0] == 200
        gateway.apis["own"].update(endpoints(f"http://127.0.0.1:{unused_port()}/"))
        gateway.reload()
        status, _, body = client.ask("GET", "/own/v1/")
        assert (status, code_of(body)) == (503, "101503")


def test_slow_clients_are_cut_while_others_go_on(own, started):
    gateway = own(started(HttpBackend()), http={"request_body_timeout": "0.5s"})
    with gateway.client() as slow, gateway.client() as stalled, gateway.client() as healthy:
        slow.send(slow.head("POST", "/own/v1/", "Content-Length: 100") + b"abc")
        stalled.send(b"GET /own/v1/ HTTP/1.1\r\nHost: h\r\nX-")
        for _ in range(20):
            assert healthy.ask("GET", "/own/v1/")[0] == 200
        status, headers, body = slow.read()
        assert (status, code_of(body)) == (408, "408002") and slow.ended()
        assert healthy.ask("GET", "/own/v1/")[0] == 200


# ---- drain

def test_a_drain_finishes_requests_and_closes_idle_clients(own, started):
    release = threading.Event()
    gateway = own(started(HttpBackend(lambda connection, request: release.wait(10) and None)))
    with gateway.client() as idle, gateway.client() as busy:
        idle.ask("GET", "/own/v1/", token=False)
        busy.send(busy.head("GET", "/own/v1/"))
        wait_for(lambda: gateway.proxy.metric("sluice_http_requests_total") == 1, "the request is on its way", 5)
        gateway.proxy.process.send_signal(signal.SIGTERM)
        assert idle.ended()
        release.set()
        status, headers, _ = busy.read()
        assert (status, headers["connection"]) == (200, ["close"]) and busy.ended()
    assert gateway.proxy.terminate() == 0
