"""APIs of type HTTP: requests and responses through the whole chain, from foreign clients and from hand-made ones."""

import http.client
import json
import shutil
import subprocess

import pytest

from backends import EchoBackend
from http_backend import HttpBackend
from http_gateway import CHUNKED, OTHER, SCOPED, TOKEN, Gateway, code_of, endpoints, manifest
from sluice import bearer, wait_for


@pytest.fixture(scope="module")
def backend():
    backend = HttpBackend(path="/base/")
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def web_sockets():
    backend = EchoBackend()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, backend, web_sockets):
    apis = {
        "plain": endpoints(backend.url),
        "chat": {"type": "WS", **endpoints(web_sockets.url)},
        "tight": {**endpoints(backend.url), "plan": "Three"},
        "sized": {**endpoints(backend.url), "http": {"request_body_bytes_max": 1000}},
        "shared": {**endpoints(backend.url), "allowed_origins": ["https://app.example"],
                   "cors": {"allow_credentials": True, "max_age": "120s", "exposed_headers": ["X-Total"]}},
        "open": {**endpoints(backend.url), "cors": {}},
        "orders": {**endpoints(backend.url), "resources": [
            {"path": "/orders/{id}", "methods": ["GET"]},
            {"path": "/orders/{id}", "methods": ["PUT"], "scopes": ["orders:write"]},
            {"path": "/orders/new", "methods": ["POST"], "plan": "Two"},
            {"path": "/public/*", "auth": "none"}]},
    }
    gateway = Gateway(tmp_path_factory.mktemp("http"), apis,
                      manifest("Plan", "Three", messages=3, per="3600s"),
                      manifest("Plan", "Two", messages=2, per="3600s"))
    yield gateway
    gateway.stop()


# ---- what the back end gets, and the client

def test_the_backend_gets_the_request_and_nothing_of_the_connection(gateway, backend):
    with gateway.client() as client:
        status, headers, body = client.ask(
            "GET", "/plain/v1/a%7Eb/../c//d?x=1&access_token=" + TOKEN, "Connection: keep-alive, X-Private", "X-Private: 1",
            "X-Public: 2", "Keep-Alive: timeout=5", "Upgrade: h2c", "TE: trailers", "Proxy-Authorization: Basic eA==",
            "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Request-Id: mine")
    seen = json.loads(body)
    assert status == 200 and seen["target"] == "/base/c/d?x=1"
    got = seen["headers"]
    assert got["host"] == [f"127.0.0.1:{backend.port}"] and got["x-public"] == ["2"]
    assert got["x-forwarded-for"] == ["127.0.0.1"] and got["x-forwarded-proto"] == ["http"]
    assert got["x-forwarded-host"] == ["api.test"] and got["x-request-id"] == headers["x-request-id"] != ["mine"]
    for name in ("connection", "x-private", "keep-alive", "upgrade", "te", "proxy-authorization", "forwarded",
                 "authorization", "transfer-encoding"):
        assert name not in got, name


def test_requests_share_connections_on_both_sides(gateway, backend):
    before = backend.connections
    with gateway.client() as client:
        for n in range(20):
            status, headers, body = client.ask("POST", f"/plain/v1/{n}", "Content-Length: 5", body=b"hello")
            assert status == 200 and "connection" not in headers
            assert json.loads(body)["body"] == 5
    assert backend.connections - before <= 2  # one a worker


def test_pipelined_requests_are_answered_in_order(gateway):
    with gateway.client() as client:
        client.send(b"".join(client.head("GET", f"/plain/v1/{n}") for n in range(10)))
        assert [json.loads(client.read()[2])["target"] for _ in range(10)] == [f"/base/{n}" for n in range(10)]


def test_connection_close_and_old_clients(gateway):
    with gateway.client() as client:
        status, headers, _ = client.ask("GET", "/plain/v1/", "Connection: close")
        assert (status, headers["connection"]) == (200, ["close"]) and client.ended()
    with gateway.client() as client:
        status, headers, _ = client.ask("GET", "/plain/v1/", version="1.0")
        assert (status, headers["connection"]) == (200, ["close"]) and client.ended()
    with gateway.client() as client:
        for _ in range(2):
            status, headers, _ = client.ask("GET", "/plain/v1/", "Connection: keep-alive", version="1.0")
            assert (status, headers["connection"]) == (200, ["keep-alive"])


def test_a_connection_may_become_a_websocket_after_requests(gateway):
    with gateway.client() as client:
        assert client.ask("GET", "/plain/v1/")[0] == 200
        status, headers, _ = client.ask(
            "GET", "/chat/v1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert status == 101 and headers["sec-websocket-accept"] == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
        client.send(b"\x81\x80\0\0\0\0")
        assert client.stream.take(2) == b"\x81\0"


def test_an_upgrade_is_not_passed_on_and_a_websocket_api_answers_426(gateway):
    with gateway.client() as client:
        status, _, body = client.ask("GET", "/plain/v1/", "Connection: Upgrade", "Upgrade: websocket",
                                     "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert status == 200 and "upgrade" not in json.loads(body)["headers"]
    with gateway.client() as client:
        assert client.ask("GET", "/chat/v1")[0] == 426


# ---- foreign clients

def test_curl(gateway, tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(3_000_000))
    done = subprocess.run(
        ["curl", "-sS", "-m", "20", "-H", f"Authorization: Bearer {TOKEN}", "-T", str(upload), "-w", "%{http_code} ",
         f"http://127.0.0.1:{gateway.port}/plain/v1/up", f"http://127.0.0.1:{gateway.port}/plain/v1/again"],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and '"body": 3000000' in done.stdout, done


def test_pythons_client(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("POST", "/plain/v1/x", body=iter([b"ab", b"cde"]), headers=bearer(TOKEN), encode_chunked=True)
    response = connection.getresponse()
    seen = json.loads(response.read())
    assert response.status == 200 and seen["body"] == 5 and seen["headers"]["transfer-encoding"] == ["chunked"]
    connection.request("HEAD", "/plain/v1/x", headers=bearer(TOKEN))
    response = connection.getresponse()
    assert response.status == 200 and response.read() == b""
    connection.close()


def test_node_fetch(gateway):
    script = ("const answers = [];"
              f"for (let i = 0; i < 3; i++) {{ const r = await fetch('http://127.0.0.1:{gateway.port}/plain/v1/n' + i, "
              f"{{method: 'POST', body: 'x'.repeat(i), headers: {{authorization: 'Bearer {TOKEN}'}}}});"
              "answers.push([r.status, (await r.json()).body]); }"
              "console.log(JSON.stringify(answers));")
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, timeout=30)
    assert done.stdout and json.loads(done.stdout) == [[200, 0], [200, 1], [200, 2]], done


@pytest.mark.skipif(shutil.which("h2load") is None, reason="no h2load is installed (apt-get install nghttp2-client)")
def test_h2load(gateway):
    done = subprocess.run(["h2load", "--h1", "-n", "500", "-c", "10", "-H", f"Authorization: Bearer {TOKEN}",
                           f"http://127.0.0.1:{gateway.port}/plain/v1/load"], capture_output=True, text=True, timeout=60)
    assert "500 succeeded, 0 failed" in done.stdout and "500 2xx" in done.stdout, done.stdout


# ---- refusals

def test_refusals_keep_the_connection_and_are_recorded(gateway):
    with gateway.client() as client:
        status, headers, body = client.ask("GET", "/plain/v1/", token=False)
        assert (status, code_of(body)) == (401, "900902") and "Bearer" in headers["www-authenticate"][0]
        status, _, body = client.ask("HEAD", "/plain/v1/", "Authorization: Bearer nonsense", token=False)
        assert (status, body) == (401, b"")
        status, _, body = client.ask("POST", "/plain/v1/", "Content-Length: 3", token=False, body=b"abc")
        assert status == 401
        assert client.ask("GET", "/plain/v1/")[0] == 200
    entry, = gateway.logged(headers["x-request-id"][0])
    assert (entry["event"], entry["status"], entry["code"]) == ("refused", 401, 900902)


def test_a_request_has_its_line_and_its_record(gateway):
    with gateway.client() as client:
        _, headers, body = client.ask("POST", "/plain/v1/logged?apikey=" + TOKEN, "Content-Length: 4", body=b"1234")
    entry, = gateway.logged(headers["x-request-id"][0])
    assert (entry["event"], entry["method"], entry["status"], entry["topic"]) == ("request", "POST", 200, "/logged")
    assert (entry["bytes_up"], entry["bytes_down"], entry["messages_up"]) == (4, len(body), 1)
    assert TOKEN not in json.dumps(entry)
    records = gateway.proxy.data / "records.jsonl"
    record = wait_for(lambda: next((r for r in map(json.loads, records.read_text().splitlines())
                                    if r["connection_id"] == entry["id"]), None), "the record")
    assert (record["part"], record["status"], record["bytes_up"], record["messages_up"]) == ("FINAL", 200, 4, 1)


def test_a_plan_of_three_lets_three_requests_through(gateway):
    with gateway.client() as client:
        answers = [client.ask("GET", "/tight/v1/") for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429, 429]
    assert code_of(answers[3][2]) == "900804" and 0 < int(answers[3][1]["retry-after"][0]) <= 3600
    with gateway.client(OTHER) as client:
        assert client.ask("GET", "/tight/v1/")[0] == 200, "another application has its own count"


def test_a_body_over_the_limit_is_413(gateway, backend):
    with gateway.client() as client:
        assert client.ask("POST", "/sized/v1/", "Content-Length: 1000", body=bytes(1000))[0] == 200
        seen = len(backend.requests)
        status, _, body = client.ask("POST", "/sized/v1/", "Content-Length: 1001", body=bytes(1001))
        assert (status, code_of(body)) == (413, "413001") and len(backend.requests) == seen
    with gateway.client() as client:
        client.send(client.head("POST", "/sized/v1/", "Transfer-Encoding: chunked"))
        for _ in range(3):
            client.send(b"1f4\r\n" + bytes(500) + b"\r\n")
        assert client.read()[0] == 413 and client.ended()
    assert len(backend.requests) == seen


def test_expectations(gateway):
    with gateway.client() as client:
        status, _, body = client.ask("POST", "/plain/v1/", "Expect: miracles", "Content-Length: 1", body=b"x")
        assert (status, code_of(body)) == (417, "417001")


# ---- resources

def test_resources_have_methods_scopes_plans_and_auth_of_their_own(gateway):
    with gateway.client() as client:
        assert client.ask("GET", "/orders/v1/orders/7")[0] == 200
        assert client.ask("HEAD", "/orders/v1/orders/7")[0] == 200
        status, _, body = client.ask("GET", "/orders/v1/nothing")
        assert (status, code_of(body)) == (404, "404002")
        status, headers, body = client.ask("DELETE", "/orders/v1/orders/7")
        assert (status, code_of(body), headers["allow"]) == (405, "405001", ["GET, PUT"])
        status, _, body = client.ask("PUT", "/orders/v1/orders/7", "Content-Length: 0")
        assert (status, code_of(body)) == (403, "900910")
        answers = [client.ask("POST", "/orders/v1/orders/new", "Content-Length: 0") for _ in range(3)]
        assert [a[0] for a in answers] == [200, 200, 429] and code_of(answers[2][2]) == "900802"
        assert client.ask("GET", "/orders/v1/public/a/b", token=False)[0] == 200
        assert client.ask("GET", "/orders/v1/public/../orders/7", token=False)[0] == 401
    with gateway.client(SCOPED) as client:
        assert client.ask("PUT", "/orders/v1/orders/7", "Content-Length: 0")[0] == 200


# ---- CORS

PREFLIGHT = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization")


def test_a_preflight_is_answered_without_a_credential(gateway, backend):
    seen = len(backend.requests)
    with gateway.client(token=None) as client:
        status, headers, body = client.ask("OPTIONS", "/shared/v1/x", "Origin: https://app.example", *PREFLIGHT)
        assert (status, body) == (204, b"") and headers["access-control-allow-origin"] == ["https://app.example"]
        assert "PUT" in headers["access-control-allow-methods"][0] and headers["access-control-max-age"] == ["120"]
        assert headers["access-control-allow-credentials"] == ["true"] and headers["vary"] == ["Origin"]
        status, headers, body = client.ask("OPTIONS", "/shared/v1/x", "Origin: https://evil.example", *PREFLIGHT)
        assert (status, code_of(body)) == (403, "900911") and "access-control-allow-origin" not in headers
        # Scripts may read refusals, too.
        status, headers, _ = client.ask("GET", "/shared/v1/x", "Origin: https://app.example")
        assert (status, headers["access-control-allow-origin"]) == (401, ["https://app.example"])
        status, headers, _ = client.ask("OPTIONS", "/plain/v1/x", "Origin: https://app.example", *PREFLIGHT)
        assert status == 401, "an API without cors"
    assert len(backend.requests) == seen


def test_responses_say_what_scripts_may_read(gateway):
    with gateway.client() as client:
        _, headers, _ = client.ask("GET", "/shared/v1/x", "Origin: https://app.example")
        assert headers["access-control-expose-headers"] == ["X-Total"]
        _, headers, _ = client.ask("GET", "/open/v1/x", "Origin: https://anyone.example")
        assert headers["access-control-allow-origin"] == ["*"]


# ---- what could be understood in two ways never reaches the back end

SMUGGLED = "GET /plain/v1/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def post(fields, body="", first="POST /plain/v1/ HTTP/1.1", host="Host: h\r\n"):
    return f"{first}\r\n{host}Authorization: Bearer {TOKEN}\r\n{fields}\r\n{body}".encode("latin-1")


AMBIGUOUS = {
    "length and chunked": post("Content-Length: 5\r\n" + CHUNKED, "0\r\n\r\n" + SMUGGLED),
    "two lengths": post("Content-Length: 5\r\nContent-Length: 6\r\n", "helloG"),
    "the same length twice": post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
    "a list of lengths": post("Content-Length: 5, 5\r\n", "hello"),
    "a signed length": post("Content-Length: +5\r\n", "hello"),
    "a negative length": post("Content-Length: -1\r\n"),
    "a hexadecimal length": post("Content-Length: 0x5\r\n", "hello"),
    "a huge length": post("Content-Length: 99999999999999999999\r\n"),
    "another coding": post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
    "two transfer encodings": post(CHUNKED + CHUNKED, "0\r\n\r\n"),
    "chunked misspelt": post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    "chunked after a tab": post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"),
    "a space before the colon": post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
    "a folded line": post("X: a\r\n b\r\n"),
    "a bare LF": post("").replace(b"\r\n", b"\n"),
    "a bare CR": post("X: a\rY: b\r\n"),
    "a NUL": post("X: a\0b\r\n"),
    "chunked in 1.0": post(CHUNKED, "0\r\n\r\n", first="POST /plain/v1/ HTTP/1.0"),
    "no host": post("", host=""),
    "two hosts": post("Host: i\r\n"),
    "a host of another": post("", first="POST http://other/plain/v1/ HTTP/1.1"),
    "an encoded slash": post("", first="GET /plain/v1/a%2Fb HTTP/1.1"),
    "a backslash": post("", first="GET /plain/v1/a\\b HTTP/1.1"),
    "an encoded NUL": post("", first="GET /plain/v1/a%00 HTTP/1.1"),
    "above the root": post("", first="GET /../plain/v1/ HTTP/1.1"),
    "dots with a parameter": post("", first="GET /plain/v1/..;/x HTTP/1.1"),
    "a space in the target": post("", first="GET /plain/v1/ x HTTP/1.1"),
    "no version": post("", first="GET /plain/v1/"),
    "version 1.2": post("", first="GET /plain/v1/ HTTP/1.2"),
    "an empty name": post(": x\r\n"),
    "too many fields": post("X: 1\r\n" * 200),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_an_ambiguous_request_never_reaches_the_backend(gateway, backend, case):
    seen = len(backend.requests)
    with gateway.client() as client:
        client.send(AMBIGUOUS[case])
        status, headers, body = client.read()
        assert status in (400, 431, 505) and code_of(body) in ("400002", "431001"), (status, body)
        assert headers["connection"] == ["close"] and client.ended()
    assert len(backend.requests) == seen


BAD_CHUNKS = {
    "no size": "\r\nhello\r\n", "a signed size": "+5\r\nhello\r\n0\r\n\r\n", "a size with 0x": "0x5\r\nhello\r\n0\r\n\r\n",
    "a space after the size": "5 \r\nhello\r\n0\r\n\r\n", "a bare LF": "5\nhello\n0\n\n", "too short": "6\r\nhello\r\n0\r\n\r\n",
    "too long": "4\r\nhello\r\n0\r\n\r\n", "a huge size": "fffffffffffffffff\r\n", "a control byte": "5;a=\x01\r\nhello\r\n",
    "a bare CR": "5\rhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_a_malformed_chunk_never_completes_a_request(gateway, backend, case):
    seen = len(backend.requests)
    with gateway.client() as client:
        client.send(post(CHUNKED, BAD_CHUNKS[case] + SMUGGLED))
        status, _, body = client.read()
        assert (status, code_of(body)) == (400, "400002") and client.ended()
    assert len(backend.requests) == seen


def test_an_oversized_head_is_431(gateway, backend):
    seen = len(backend.requests)
    with gateway.client() as client:
        client.send(post("X: " + "a" * 70_000 + "\r\n"))
        assert client.read()[0] == 431 and client.ended()
    assert len(backend.requests) == seen
