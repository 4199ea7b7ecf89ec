"""Where a credential may stand, and what the back end sees of a handshake."""

import json
import re
import subprocess

import pytest

from backends import EchoBackend
from clients import NodeClient
from sluice import connect, handshake, wait_for


@pytest.fixture(scope="module")
def base(world):
    return world.guest()


@pytest.fixture(scope="module")
def chat(world):
    """An API whose back end picks the sub-protocol `chat`: (backend, token, URL)."""
    backend = EchoBackend(subprotocols=["chat"])
    _, _, token, url = world.guest(endpoint=backend.url)
    yield backend, token, url
    backend.stop()


async def echo(url, token=None, **options):
    """The connection after one message there and back."""
    async with connect(url, token, **options) as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"
        return connection


def seen(world, token, backend=None):
    """(path, headers) of the newest request at the back end, which must not hold the credential."""
    path, headers = (backend or world.backend).requests[-1]
    assert token not in path and token not in str(headers), "the back end got the credential"
    assert "sluice.bearer" not in str(headers)
    return path, headers


PLACES = {
    "authorization": lambda token: ("", {"Authorization": f"Bearer {token}"}),
    "scheme in lower case": lambda token: ("", {"Authorization": f"bearer {token}"}),
    "access_token": lambda token: (f"?access_token={token}", {}),
    "access_token among others": lambda token: (f"?a=1&access_token={token}&b=2", {}),
    "apikey header": lambda token: ("", {"ApiKey": token}),
    "apikey query": lambda token: (f"?apikey={token}", {}),
    "the same twice": lambda token: (f"?apikey={token}&access_token={token}", {"Authorization": f"Bearer {token}"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_opens_and_is_taken_out(world, base, run, place):
    _, _, token, url = base
    query, headers = PLACES[place](token)
    run(echo(url + query, headers=headers))
    path, got = seen(world, token)
    assert path == ("/?a=1&b=2" if place == "access_token among others" else "/")
    assert "Authorization" not in got and "apikey" not in got


@pytest.mark.parametrize("library", ["python", "node"])
def test_a_subprotocol_opens_and_is_named_when_there_is_no_other(world, base, run, library):
    _, _, token, url = base
    offered = ["sluice.bearer", token]
    if library == "python":
        assert run(echo(url, subprotocols=offered)).subprotocol == "sluice.bearer"
    else:
        with NodeClient(url, protocols=offered) as node:
            assert node.event("open")["protocol"] == "sluice.bearer"
            node.tell(send="hello")
            assert node.event("message")["data"] == "hello"
    assert "Sec-WebSocket-Protocol" not in seen(world, token)[1]


@pytest.mark.parametrize("library", ["python", "node"])
@pytest.mark.parametrize("order", ["first", "last"])
def test_the_real_subprotocol_is_the_back_ends_choice(world, chat, run, library, order):
    backend, token, url = chat
    real, ours = ["other", "chat"], ["sluice.bearer", token]
    offered = ours + real if order == "first" else real + ours
    if library == "python":
        assert run(echo(url, subprotocols=offered)).subprotocol == "chat"
    else:
        with NodeClient(url, protocols=offered) as node:
            assert node.event("open")["protocol"] == "chat"
    assert seen(world, token, backend)[1]["Sec-WebSocket-Protocol"].replace(" ", "") == "other,chat"


def test_a_back_end_that_picks_none_of_the_real_ones_gets_none_named(world, base, run):
    _, _, token, url = base
    assert run(echo(url, subprotocols=["sluice.bearer", token, "chat"])).subprotocol is None
    assert seen(world, token)[1]["Sec-WebSocket-Protocol"] == "chat"


@pytest.mark.parametrize("second", [
    {"apikey": "another"}, {"Sec-WebSocket-Protocol": "sluice.bearer, another"}], ids=["apikey", "subprotocol"])
def test_different_credentials_are_refused_even_if_one_is_good(base, second):
    _, _, token, url = base
    status, _, body = handshake(url, token, second)
    assert (status, body["code"]) == (400, "400001")
    assert handshake(f"{url}?access_token=another", token)[2]["code"] == "400001"
    assert handshake(f"{url}?access_token={token}&access_token=another")[2]["code"] == "400001"


def test_a_bearer_without_a_token_is_refused(base):
    _, _, _, url = base
    for fields in ({"Authorization": "Bearer"}, {"Sec-WebSocket-Protocol": "sluice.bearer"}):
        status, _, body = handshake(url, headers=fields)
        assert (status, body["code"]) == (401, "900901")


def test_a_place_that_is_not_listed_is_not_looked_at_and_passes(world, run):
    _, _, token, url = world.guest(credentialPlaces=["authorization"])
    status, _, body = handshake(f"{url}?access_token={token}")
    assert (status, body["code"]) == (401, "900902")
    assert "Authorization: Bearer" in body["description"] and "apikey" not in body["description"]
    run(echo(f"{url}?access_token=theirs&apikey=theirs", token, headers={"apikey": "their own"}))
    path, headers = world.backend.requests[-1]
    assert path == "/?access_token=theirs&apikey=theirs" and headers["apikey"] == "their own"
    _, _, token, url = world.guest(credentialPlaces=["apikey", "subprotocol"])
    assert handshake(url, token)[2]["code"] == "900902"
    run(echo(url, headers={"apikey": token, "Authorization": "Bearer theirs"}))
    assert world.backend.requests[-1][1]["Authorization"] == "Bearer theirs"


def test_another_scheme_is_the_back_ends_own_matter(world, base, run):
    _, _, token, url = base
    run(echo(url, headers={"apikey": token, "Authorization": "Basic dXNlcjpwYXNz"}))
    assert seen(world, token)[1]["Authorization"] == "Basic dXNlcjpwYXNz"


# ---- what else the back end sees

def test_the_back_end_sees_its_own_host_and_the_clients_headers(world, base, run):
    _, _, token, url = base
    run(echo(url, token, origin="https://page.example.com", user_agent_header="my client/1",
             headers={"Cookie": "a=b", "X-Custom": "kept", "X-Forwarded-For": "6.6.6.6", "X-Request-Id": "forged"}))
    _, headers = seen(world, token)
    assert headers["Host"] == f"127.0.0.1:{world.backend.port}"
    assert headers["Origin"] == "https://page.example.com" and headers["User-Agent"] == "my client/1"
    assert headers["Cookie"] == "a=b" and headers["X-Custom"] == "kept"
    assert headers["X-Forwarded-For"] == "127.0.0.1" and headers["X-Forwarded-Proto"] in ("ws", "http")
    assert headers["X-Forwarded-Host"] == f"127.0.0.1:{world.proxy.port('ws')}"
    assert headers["X-Request-Id"] != "forged"


def test_the_request_id_is_the_clients_the_back_ends_and_the_logs(world, base, run):
    _, _, token, url = base
    connection = run(echo(url, token))
    identity = connection.response_headers["X-Request-Id"]
    assert seen(world, token)[1]["X-Request-Id"] == identity
    # Opened and closed.
    wait_for(lambda: len(world.proxy.log_entries(identity)) == 2, lambda: world.proxy.log_entries(identity))


@pytest.mark.parametrize("endpoint_path, rest, expected", [
    ("/", "", "/"), ("", "/rooms/1", "/rooms/1"), ("/base", "/rooms/1?x=1&y=%20", "/base/rooms/1?x=1&y=%20"),
    ("/base/", "/rooms", "/base/rooms"), ("/base", "", "/base"), ("/base/", "/", "/base/")])
def test_topic_and_query_are_joined_to_the_endpoints_path(world, run, endpoint_path, rest, expected):
    _, _, token, url = world.guest(endpoint=f"ws://127.0.0.1:{world.backend.port}{endpoint_path}")
    run(echo(url + rest, token))
    assert seen(world, token)[0] == expected


def test_versions_and_the_default_version(world, run):
    context = f"/{world.name('versions')}"
    old = world.api(context=context, version="1.0", endpoint=f"{world.backend.url}old")
    new = world.api(context=context, version="2.0", defaultVersion=True, endpoint=f"{world.backend.url}new")
    inside = world.api(context=context + "/{version}/live", version="3.0", endpoint=f"{world.backend.url}inside")
    token = world.token(world.app(old, new, inside))
    world.settle()
    for path, expected in {"/1.0/a": "/old/a", "/2.0/a": "/new/a", "/a": "/new/a", "": "/new",
                           "/3.0/live/a": "/inside/a"}.items():
        run(echo(world.proxy.url(context + path), token))
        assert seen(world, token)[0] == expected, path


def test_sandbox_keys_reach_the_sandbox(world, started, run):
    sandbox = started(EchoBackend())
    api = world.api(endpoints={"production": [world.backend.url], "sandbox": [sandbox.url]})
    app = world.app(api, key_types=("PRODUCTION", "SANDBOX"))
    tokens = {kind: world.token(app, kind) for kind in ("PRODUCTION", "SANDBOX")}
    world.settle()
    before = len(world.backend.requests)
    run(echo(world.url(api), tokens["SANDBOX"]))
    assert len(sandbox.requests) == 1 and len(world.backend.requests) == before
    run(echo(world.url(api), tokens["PRODUCTION"]))
    assert len(sandbox.requests) == 1 and len(world.backend.requests) == before + 1


def test_several_endpoints_are_used_in_turn_and_a_dead_one_is_passed_over(world, started, run):
    two = [started(EchoBackend()), started(EchoBackend())]
    api = world.api(endpoints={"production": [two[0].url, two[1].url, "ws://127.0.0.1:1/"]})
    token = world.token(world.app(api))
    world.settle()
    for _ in range(12):
        run(echo(world.url(api), token))
    assert len(two[0].requests) + len(two[1].requests) == 12
    assert all(len(backend.requests) >= 2 for backend in two)


# ---- TLS, and secrecy

def test_the_wss_listener_speaks_tls_with_the_pushed_certificate(world, base, run):
    api, _, token, _ = base
    url = world.url(api, listener="wss")
    run(echo(url, token, ca=world.control.ca))
    assert seen(world, token)[1]["X-Forwarded-Proto"] in ("wss", "https")
    with NodeClient(url.replace("127.0.0.1", "localhost"), token, ca=world.control.ca) as node:
        node.event("open")
        node.tell(send="by TLS")
        assert node.event("message")["data"] == "by TLS"


@pytest.mark.parametrize("minor", ["1.1", "1.2", "1.3"])
def test_old_tls_is_refused(world, minor):
    flag = {"1.1": "-tls1_1", "1.2": "-tls1_2", "1.3": "-tls1_3"}[minor]
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.proxy.port('wss')}", flag,
                           "-CAfile", str(world.control.ca), "-verify_return_error", "-cipher",
                           "DEFAULT:@SECLEVEL=0"], input=b"", capture_output=True, timeout=20)
    assert (done.returncode == 0) == (minor != "1.1"), done.stderr


def test_no_credential_stands_in_a_log_or_a_record(world, base, run):
    api, _, token, url = base
    run(echo(f"{url}?access_token={token}&room=1"))
    wrong = "W" * 43
    assert handshake(f"{url}?apikey={wrong}")[0] == 401
    entry = wait_for(lambda: [e for e in world.proxy.log_entries() if "room=1" in str(e)], "the line")[0]
    assert entry["query"] in ("room=1", "access_token=redacted&room=1")
    wait_for(lambda: world.usage(api)["connections"] > 0, "records arrive", 15)
    records = world.control.call("UsageService/ListRecords", {"api": api, "pageSize": 1000})
    files = [p for p in world.folder.rglob("*") if p.is_file()]
    assert len(files) > 5
    for secret in (token, wrong):
        assert secret not in json.dumps(records)
        holders = [p for p in files if p.exists() and secret.encode() in p.read_bytes()]
        assert not holders, holders
    assert re.search(r"^[A-Za-z0-9_-]{43}$", token)
