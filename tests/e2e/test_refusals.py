"""Every row of behaviour.md's table "Refusals" that is built, and the back end's own refusals."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import websockets

from backends import RawBackend, switching, unused_port
from clients import NodeClient, raw_request, read_response
from sluice import connect, handshake, wait_for


@pytest.fixture(scope="module")
def base(world):
    """A published API, an application that may use it, and a listener with small limits."""
    api, app, token, url = world.guest()
    world.call("ListenerService/CreateListener", listener={"name": "tight", "spec": {
        "address": "127.0.0.1", "port": 0, "requestHeadTimeout": "0.300s", "requestHeadBytesMax": 2048}})
    world.settle()
    return SimpleNamespace(api=api, app=app, token=token, url=url, port=world.proxy.port("ws"),
                           tight=world.proxy.port("tight"))


def check(world, status, code, answer):
    """That an answer is the refusal asked for, whole, and in the access log; gives its headers and body."""
    got, headers, body = answer
    assert got == status, (got, body)
    assert set(body) == {"code", "message", "description"}, body
    assert body["code"] == str(code) and body["message"] and body["description"], body
    assert headers["Content-Type"].startswith("application/json")
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert status != 429 or int(headers["Retry-After"]) > 0
    entry = world.logged(headers["X-Request-Id"])[0]
    assert (entry["event"], entry["status"], entry["code"]) == ("refused", status, code), entry
    return headers, body


def revoked(w, b):
    token = w.token(b.app)
    assert handshake(b.url, token)[0] == 101  # known to the proxy when it is revoked
    w.revoke(token)
    w.settle()
    return b.url, token


def revoked_unheard(w, b):
    token = w.token(b.app)
    w.revoke(token)
    return b.url, token


def expired(w, b):
    token = w.token(b.app, validity=1)
    wait_for(lambda: handshake(b.url, token)[0] != 101, "the token expires")
    return b.url, token


def not_subscribed(w, b):
    api = w.api(settle=True)
    return w.url(api), b.token


def subscription_deleted(w, b):
    api, app, token, url = w.guest()
    w.call("SubscriptionService/DeleteSubscription", name=f"{app}:{api}")
    w.settle()
    return url, token


def subscription(status, key_type="PRODUCTION"):
    def build(w, _):
        api, app, _, url = w.guest()
        w.call("CredentialService/GenerateKeys", application=app, keyType="SANDBOX")
        token = w.token(app, key_type)
        w.subscription_status(app, api, status)
        w.settle()
        return url, token
    return build


def application(status):
    def build(w, _):
        _, app, token, url = w.guest()
        w.application_status(app, status)
        w.settle()
        return url, token
    return build


def no_endpoint(key_type, kind):
    def build(w, _):
        api = w.api(endpoints={kind: [w.backend.url]})
        app = w.app(api, key_types=(key_type,))
        token = w.token(app, key_type)
        w.settle()
        return w.url(api), token
    return build


def api_state(*actions):
    def build(w, _):
        api, _, token, url = w.guest()
        for action in actions:
            w.state(api, action)
        w.settle()
        return url, token
    return build


def api_deleted(w, _):
    api, _, token, url = w.guest()
    w.call("ApiService/DeleteApi", name=api, cascade=True)
    w.settle()
    return url, token


def used_up(level):
    """Two messages an hour at one level, both used."""
    def build(w, _):
        clear = w.plan(2)
        plans = {"plan": clear} if level == "subscription" else {"application_plan": clear}
        _, _, token, url = w.guest(**plans) if level != "api" else w.guest(api_plan=clear)

        async def use():
            async with connect(url, token) as connection:
                await connection.send("one")
                assert await asyncio.wait_for(connection.recv(), 10) == "one"
        asyncio.run(use())
        return url, token
    return build


def backend_at(url):
    def build(w, _):
        _, _, token, api_url = w.guest(endpoint=url() if callable(url) else url)
        return api_url, token
    return build


REFUSED = {
    "no credential": (401, 900902, lambda w, b: (b.url, None)),
    "empty bearer": (401, 900901, lambda w, b: (b.url, "")),
    "unknown token": (401, 900901, lambda w, b: (b.url, "A" * 43)),
    "malformed token": (401, 900901, lambda w, b: (b.url, "no token at all, with = and spaces")),
    "expired": (401, 900903, expired),
    "revoked": (401, 900904, revoked),
    "revoked before it was heard of": (401, 900904, revoked_unheard),
    "not subscribed": (403, 900908, not_subscribed),
    "subscription deleted": (403, 900908, subscription_deleted),
    "subscription blocked": (403, 900907, subscription("BLOCKED")),
    "subscription blocked, sandbox": (403, 900907, subscription("BLOCKED", "SANDBOX")),
    "subscription blocked for production": (403, 900907, subscription("PROD_ONLY_BLOCKED")),
    "subscription on hold": (403, 900909, subscription("ON_HOLD")),
    "subscription rejected": (403, 900909, subscription("REJECTED")),
    "application blocked": (403, 900907, application("BLOCKED")),
    "application on hold": (403, 900909, application("ON_HOLD")),
    "application rejected": (403, 900909, application("REJECTED")),
    "no sandbox endpoint": (403, 900901, no_endpoint("SANDBOX", "production")),
    "no production endpoint": (403, 900901, no_endpoint("PRODUCTION", "sandbox")),
    "no API at the path": (404, 404001, lambda w, b: (w.proxy.url("/nothing/here"), b.token)),
    "no such version": (404, 404001, lambda w, b: (w.proxy.url(f"/{b.api}/v9"), b.token)),
    "API created": (404, 404001, api_state("demote")),
    "API retired": (404, 404001, api_state("deprecate", "retire")),
    "API deleted": (404, 404001, api_deleted),
    "API limit": (429, 900800, used_up("api")),
    "application limit": (429, 900803, used_up("application")),
    "subscription limit": (429, 900804, used_up("subscription")),
    "API blocked": (503, 700700, api_state("block")),
    "back end unreachable": (503, 101503, backend_at(lambda: f"ws://127.0.0.1:{unused_port()}/")),
}


@pytest.mark.parametrize("row", REFUSED)
def test_a_handshake_is_refused(world, base, row):
    status, code, build = REFUSED[row]
    url, token = build(world, base)
    dialled = len(world.backend.requests)
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    answer, body = check(world, status, code, handshake(url, headers=headers))
    assert len(world.backend.requests) == dialled, "a refused client reached the back end"
    if status == 401:
        named = 'error="invalid_token"' in answer["WWW-Authenticate"]
        assert answer["WWW-Authenticate"].startswith('Bearer realm=') and named == (code != 900902)
    if token:
        assert token not in json.dumps([answer, body])
    assert "127.0.0.1" not in body["description"], "an address of a back end in a refusal"
    if row.startswith("no sandbox endpoint"):
        assert body["description"] == "Sandbox key offered to the API with no sandbox endpoint"


def test_sandbox_keys_pass_when_production_alone_is_blocked(world, base):
    url, token = subscription("PROD_ONLY_BLOCKED", "SANDBOX")(world, base)
    assert handshake(url, token)[0] == 101


@pytest.mark.parametrize("heard_of", [True, False])
def test_an_application_that_was_deleted_is_refused_and_another_of_its_name_does_not_revive_its_tokens(
        world, heard_of):
    api, app, token, url = world.guest()
    if heard_of:
        assert handshake(url, token)[0] == 101
    world.call("ApplicationService/DeleteApplication", name=app, cascade=True)
    world.settle()
    _, body = check(world, 403, 900908, handshake(url, token))
    assert body["description"] == f"The application {app} does not exist any more. Use a token of one that does."
    world.call("ApplicationService/CreateApplication", application={"name": app})
    world.subscribe(app, api)
    world.call("CredentialService/GenerateKeys", application=app, keyType="PRODUCTION")
    world.settle()
    check(world, 401, 900904, handshake(url, token))
    assert handshake(url, world.token(app))[0] == 101


def test_a_deprecated_api_still_serves_and_a_prototype_is_open(world):
    api, app, token, url = world.guest()
    world.state(api, "deprecate")
    prototype = world.api(publish=False)
    world.state(prototype, "prototype")
    world.settle()
    assert handshake(url, token)[0] == 101
    assert handshake(world.url(prototype))[0] == 101


def test_an_origin_that_is_not_allowed_is_refused(world):
    _, _, token, url = world.guest(allowedOrigins=["https://app.example.com"])
    check(world, 403, 900911, handshake(url, token, {"Origin": "https://evil.example.com"}))
    assert handshake(url, token, {"Origin": "https://app.example.com"})[0] == 101
    assert handshake(url, token)[0] == 101


@pytest.mark.parametrize("fields", [
    {"Upgrade": None, "Connection": None}, {"Upgrade": "h2c"}, {"Sec-WebSocket-Version": "8"},
    {"Sec-WebSocket-Version": "0"}], ids=["plain", "h2c", "version 8", "version 0"])
def test_what_is_no_websocket_of_version_13_is_told_to_upgrade(world, base, fields):
    headers, _ = check(world, 426, 426001, handshake(base.url, base.token, fields))
    assert headers["Upgrade"] == "websocket" and headers["Sec-WebSocket-Version"] == "13"
    assert "upgrade" in headers["Connection"].lower()


def test_several_different_credentials_are_refused(world, base):
    check(world, 400, 400001, handshake(base.url, base.token, {"apikey": "B" * 43}))


@pytest.mark.parametrize("fields", [
    {"Sec-WebSocket-Key": None}, {"Sec-WebSocket-Key": "c2hvcnQ="}, {"Sec-WebSocket-Version": None},
    {"Sec-WebSocket-Version": "thirteen"}, {"Connection": "keep-alive"}, {"Content-Length": "5"},
    {"Sec-WebSocket-Protocol": "a, a"}, {"Sec-WebSocket-Extensions": "x; ="}],
    ids=lambda fields: " ".join(f"{k} {v}" for k, v in fields.items()))
def test_a_malformed_handshake_is_refused(world, base, fields):
    check(world, 400, 400002, handshake(base.url, base.token, fields))


def raw_head(base, *lines, start=None, end="\r\n\r\n"):
    fields = ["Host: gateway", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Authorization: Bearer {base.token}", *lines]
    return ("\r\n".join([start or f"GET /{base.api}/v1.0 HTTP/1.1", *fields]) + end).encode()


@pytest.mark.parametrize("name, build", {
    "obs-fold": lambda b: raw_head(b, "X-Long: one", " two"),
    "space before the colon": lambda b: raw_head(b, "X-Bad : one"),
    "two hosts": lambda b: raw_head(b, "Host: another"),
    "NUL in a value": lambda b: raw_head(b, "X-Bad: a\0b"),
    "bare CR": lambda b: raw_head(b, "X-Bad: a\rb"),
    "length and chunked": lambda b: raw_head(b, "Content-Length: 3", "Transfer-Encoding: chunked"),
    "two lengths": lambda b: raw_head(b, "Content-Length: 3", "Content-Length: 4"),
    "no method": lambda b: raw_head(b, start="nonsense"),
    "climbs out": lambda b: raw_head(b, start=f"GET /../../{b.api}/v1.0 HTTP/1.1"),
    "early data": lambda b: raw_head(b) + b"\x81\x85\0\0\0\0early",
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_malformed_request_is_refused(world, base, name, build):
    dialled = len(world.backend.requests)
    check(world, 400, 400002, raw_request(base.port, build(base)))
    assert len(world.backend.requests) == dialled


def test_a_head_that_is_too_large_or_too_slow_is_refused(world, base):
    check(world, 431, 431001, raw_request(base.tight, raw_head(base, "X-Large: " + "x" * 4000)))
    began = time.monotonic()
    check(world, 408, 408001, raw_request(base.tight, raw_head(base, end="\r\n")))
    assert time.monotonic() - began < 5
    check(world, 431, 431001, raw_request(base.port, raw_head(base, "X-Large: " + "x" * 70000)))


def test_a_flood_of_unknown_tokens_is_slowed_down_and_known_ones_are_not(world, base):
    assert handshake(base.url, base.token)[0] == 101
    answers = [handshake(base.url, f"unknown-{i}") for i in range(60)]
    slowed = [a for a in answers if a[0] == 429]
    assert {a[0] for a in answers} <= {401, 429} and slowed
    check(world, 429, 900807, slowed[0])
    assert handshake(base.url, base.token)[0] == 101
    wait_for(lambda: handshake(base.url, world.token(base.app))[0] == 101, "new tokens pass again")


# ---- the back end does not do as it should

def silent(connection, head):
    connection.recv(1)


def test_a_back_end_that_does_not_answer_times_out(world, started):
    backend = started(RawBackend(silent))
    upstream = world.name("upstream")
    world.call("UpstreamService/CreateUpstream", upstream={
        "name": upstream, "spec": {"endpoints": [backend.url], "handshakeTimeout": "0.300s"}})
    _, _, token, url = world.guest(endpoint=f"upstream:{upstream}")
    check(world, 504, 101504, handshake(url, token))


def test_a_back_end_that_takes_no_connection_times_out(world, started):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as fillers:
        address = listener.getsockname()
        # Linux leaves the SYNs unanswered once the queue of what nobody accepts is full.
        for _ in range(2):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        upstream = world.name("upstream")
        world.call("UpstreamService/CreateUpstream", upstream={"name": upstream, "spec": {
            "endpoints": [f"ws://127.0.0.1:{address[1]}/"], "connectTimeout": "0.300s"}})
        _, _, token, url = world.guest(endpoint=f"upstream:{upstream}")
        check(world, 504, 101504, handshake(url, token))


@pytest.mark.parametrize("name, script", {
    "a wrong accept value": lambda c, head: c.sendall(switching(head).replace(b"Accept: ", b"Accept: x")),
    "another upgrade": lambda c, head: c.sendall(switching(head).replace(b"websocket", b"h2c")),
    "a sub-protocol nobody asked for":
        lambda c, head: c.sendall(switching(head, "Sec-WebSocket-Protocol: chat")),
    "an extension nobody asked for":
        lambda c, head: c.sendall(switching(head, "Sec-WebSocket-Extensions: permessage-deflate")),
    "HTTP/1.0": lambda c, head: c.sendall(switching(head).replace(b"HTTP/1.1", b"HTTP/1.0")),
    "garbage": lambda c, head: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "half an answer": lambda c, head: c.sendall(switching(head)[:40]),
    "nothing, and ends": lambda c, head: None,
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_101_that_is_none_never_becomes_one(world, started, name, script):
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url)
    check(world, 503, 101503, handshake(url, token))
    assert len(backend.heads) == 1


OWN = {
    "401": (401, {"WWW-Authenticate": 'Basic realm="back end"'}, b"who are you"),
    "302": (302, {"Location": "https://login.example.com/"}, b""),
    "200": (200, {"Content-Type": "application/json"}, b'{"not":"a websocket"}'),
    "503": (503, {"Retry-After": "7"}, b"later"),
    "404": (404, {}, b"no such room"),
}


def plain_answer(status, fields, body):
    lines = [f"HTTP/1.1 {status} Whatever", *[f"{k}: {v}" for k, v in fields.items()],
             f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("name", OWN)
def test_a_back_ends_own_refusal_is_passed_on(world, started, name):
    status, fields, body = OWN[name]
    backend = started(RawBackend(lambda c, head: c.sendall(plain_answer(status, fields, body))))
    _, _, token, url = world.guest(endpoint=backend.url)
    got, headers, received = handshake(url, token)
    assert got == status
    assert received == (json.loads(body) if name == "200" else body)
    for field, value in fields.items():
        assert headers[field] == value
    assert headers["Connection"] == "close"
    entry = world.logged(headers["X-Request-Id"])[0]
    assert (entry["event"], entry["status"], entry["reason"]) == ("refused", status, "refused by the backend")


def test_a_back_ends_refusal_in_chunks_is_passed_on_and_a_large_one_is_bounded(world, started):
    chunked = (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"6\r\nnot to\r\n6\r\nday, a\r\n0\r\n\r\n")
    backend = started(RawBackend(lambda c, head: c.sendall(chunked)))
    _, _, token, url = world.guest(endpoint=backend.url)
    assert handshake(url, token)[::2] == (403, b"not today, a")
    large = started(RawBackend(lambda c, head: c.sendall(plain_answer(500, {}, b"x" * 1_000_000))))
    _, _, token, url = world.guest(endpoint=large.url)
    status, _, body = handshake(url, token)
    assert status == 500 and len(body) <= 65536 and set(body) <= {ord("x")}


def test_nodes_client_sees_the_refusal(world, base):
    with NodeClient(base.url, "A" * 43) as client:
        refused = client.event("refused")
    assert refused["status"] == 401 and json.loads(refused["body"])["code"] == "900901"


# ---- refuse_by: close

BY_CLOSE = {
    "no credential": (900902, 4001, 1008, lambda w, **spec: (w.guest(**spec)[3], None)),
    "unknown token": (900901, 4001, 1008, lambda w, **spec: (w.guest(**spec)[3], "A" * 43)),
    "revoked": (900904, 4001, 1008, lambda w, **spec: revoked_guest(w, **spec)),
    "not subscribed": (900908, 4001, 1008, lambda w, **spec: (w.url(w.api(**spec)), w.guest()[2])),
    "subscription blocked": (900907, 4001, 1008, lambda w, **spec: blocked_subscription(w, **spec)),
    "no such origin": (900911, 4001, 1008, lambda w, **spec: (
        w.guest(allowedOrigins=["https://app.example.com"], **spec)[3], None)),
    "API blocked": (700700, 4006, 1008, lambda w, **spec: blocked(w, **spec)),
    "used up": (900804, 4003, 1013, lambda w, **spec: spent(w, **spec)),
}


def blocked(w, **spec):
    api, _, token, url = w.guest(**spec)
    w.state(api, "block")
    return url, token


def revoked_guest(w, **spec):
    _, _, token, url = w.guest(**spec)
    w.revoke(token)
    return url, token


def blocked_subscription(w, **spec):
    api, app, token, url = w.guest(**spec)
    w.subscription_status(app, api, "BLOCKED")
    return url, token


def spent(w, **spec):
    plan = w.plan(1, onLimitBackend="drop")
    _, _, token, url = w.guest(plan=plan, **spec)

    async def use():
        async with connect(url, token) as connection:
            await connection.send("one")
            await (await connection.ping())
    asyncio.run(use())
    return url, token


@pytest.mark.parametrize("style", ["reference", "standard"])
@pytest.mark.parametrize("row", BY_CLOSE)
def test_a_refusal_is_a_close_where_the_api_says_so(world, run, row, style):
    code, reference, standard, build = BY_CLOSE[row]
    url, token = build(world, refuseBy="close", closeCodes=style)
    world.settle()
    dialled = len(world.backend.requests)

    async def refused():
        async with connect(url, token, subprotocols=["chat"] if token is None else None,
                           origin="https://evil.example.com") as connection:
            with pytest.raises(websockets.ConnectionClosed):
                await connection.recv()
            return connection.close_code, connection.close_reason
    close, reason = run(refused())
    assert close == (reference if style == "reference" else standard)
    assert reason.startswith(f"{code} ")
    assert len(world.backend.requests) == dialled
    wait_for(lambda: any((e["event"], e.get("code"), e.get("close_code")) == ("refused", code, close)
                         for e in world.proxy.log_entries()), "the close in the access log")


def test_what_no_client_can_mend_is_refused_by_http_all_the_same(world):
    _, _, token, url = world.guest(refuseBy="close", endpoint=f"ws://127.0.0.1:{unused_port()}/")
    check(world, 503, 101503, handshake(url, token))
    check(world, 426, 426001, handshake(url, token, {"Upgrade": None}))
    check(world, 400, 400002, handshake(url, token, {"Sec-WebSocket-Key": "short"}))


def test_a_refused_client_that_keeps_sending_still_reads_the_answer(base):
    with socket.create_connection(("127.0.0.1", base.port), 10) as connection:
        connection.sendall(raw_head(base, start="GET /nothing HTTP/1.1"))
        connection.sendall(b"x" * 100_000)
        assert read_response(connection)[0] == 404
