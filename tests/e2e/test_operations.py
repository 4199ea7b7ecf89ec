"""What operators do: drain, join, remove, rotate certificates, watch connections, and reach a limit."""

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import time

import pytest
import websockets

from backends import EchoBackend
from clients import Ctl, RawClient, make_certificate, presented_certificate, read_response
from sluice import PASSWORD, CallError, Proxy, connect, handshake, wait_for
from world import World


@pytest.fixture
def own(tmp_path, started):
    """A world that the test may end, with further options of its proxy: own(drain=...)."""
    return lambda **options: started(World(tmp_path, **options))


# ---- drain

@pytest.mark.parametrize("style, code, backend_code", [("reference", 1001, 1001), ("standard", 1012, 1001)])
def test_term_drains(own, run, style, code, backend_code):
    world = own(drain=("1s", "1s"))
    _, _, token, url = world.guest(closeCodes=style)

    async def talk():
        live = [await connect(url, token) for _ in range(10)]
        half = socket.create_connection(("127.0.0.1", world.proxy.port("ws")), 10)
        half.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n")
        world.proxy.process.send_signal(signal.SIGTERM)
        # Readiness fails first; connections are still taken and served.
        await asyncio.to_thread(wait_for, lambda: world.proxy.get("/ready")[0] == 503, "not ready")
        assert world.proxy.get("/ready")[1] == "draining\n" and world.proxy.get("/live")[0] == 200
        async with connect(url, token) as late:
            for connection in [late, *live]:
                await connection.send("still served")
                assert await connection.recv() == "still served"
            await asyncio.gather(*[asyncio.wait_for(c.wait_closed(), 10) for c in [late, *live]])
            codes = {(c.close_code, c.close_reason) for c in [late, *live]}
        assert codes == {(code, "proxy is shutting down")}
        # A head that was under way is told to go elsewhere, if there is still a process to say so.
        try:
            half.sendall(b"\r\n")
            status, headers, body = read_response(half)
            assert (status, body["code"]) == (503, "101506") and int(headers["Retry-After"]) > 0
        except (ConnectionError, ValueError):
            pass
    run(talk())
    assert world.proxy.process.wait(10) == 0
    wait_for(lambda: len(world.backend.closes) >= 11, "the back end sees the closes")
    assert set(world.backend.closes) == {(backend_code, "proxy is shutting down")}
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", world.proxy.port("ws")), 2)


def nobody_listens(address):
    try:
        socket.create_connection(address, 10).close()
        return False
    except OSError:
        return True


def test_a_head_that_ends_while_draining_is_refused_101506(own, run):
    world = own(drain=("0s", "8s"))
    _, _, token, url = world.guest()

    async def talk():
        live = [await connect(url, token) for _ in range(3)]
        address = ("127.0.0.1", world.proxy.port("ws"))
        halves = []
        for _ in range(4):
            half = socket.create_connection(address, 10)
            half.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n")
            halves.append(half)
        # All four are with their workers: each has read what came.
        await asyncio.to_thread(wait_for, lambda: world.proxy.metric("sluice_downstream_cx_total") >= 7, "accepted")
        world.proxy.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: world.proxy.get("/ready")[0] == 503, "not ready")
        # The last worker that begins to drain closes the last listening socket.
        await asyncio.to_thread(wait_for, lambda: nobody_listens(address), "draining")
        assert any(c.open for c in live)  # and it has not ended
        for half in halves:
            half.sendall(b"\r\n")
            status, headers, body = await asyncio.to_thread(read_response, half)
            assert (status, body["code"]) == (503, "101506") and int(headers["Retry-After"]) > 0
    run(talk())


def test_closes_of_a_drain_are_spread_over_its_time(own, run):
    world = own(drain=("0s", "2s"))
    _, _, token, url = world.guest()

    async def talk():
        live = [await connect(url, token) for _ in range(20)]
        began = time.monotonic()
        world.proxy.process.send_signal(signal.SIGTERM)

        async def ended(connection):
            await connection.wait_closed()
            return time.monotonic() - began
        times = sorted(await asyncio.gather(*[ended(c) for c in live]))
        assert times[0] < 1 and 1 < times[-1] < 5
    run(talk())
    assert world.proxy.process.wait(10) == 0


def test_a_second_term_ends_at_once(own):
    world = own(drain=("60s", "60s"))
    _, _, token, url = world.guest()
    with RawClient(url, token):
        world.proxy.process.send_signal(signal.SIGTERM)
        world.proxy.said("draining")
        world.proxy.process.send_signal(signal.SIGTERM)
        assert world.proxy.process.wait(5) == 0


def test_a_drain_by_the_admin_port(own, run):
    world = own()
    _, _, token, url = world.guest()

    async def talk():
        async with connect(url, token) as live:
            assert world.proxy.post("/drain")[0] == 202
            await asyncio.wait_for(live.wait_closed(), 10)
            assert live.close_code == 1001
    run(talk())
    assert world.proxy.process.wait(10) == 0


# ---- joining

def test_a_second_proxy_with_the_same_node_id_is_refused(world, started, tmp_path, run):
    _, _, token, url = world.guest()

    async def talk():
        async with connect(url, token) as live:
            second = started(Proxy(tmp_path, world.control, node="proxy-1", name="twin"))
            await asyncio.to_thread(second.said, "proxy-1", 15)
            assert second.get("/ready")[0] == 503
            assert await asyncio.to_thread(connected, world, "proxy-1")
            await live.send("not disturbed")
            assert await live.recv() == "not disturbed"
    run(talk())
    world.plan(3)
    world.settle()


def connected(world, node):
    proxies = world.control.call("ProxyService/ListProxies").get("proxies", [])
    return any(p["nodeId"] == node and p.get("connected") for p in proxies)


def test_a_removed_proxy_serves_on_says_so_and_is_let_in_no_more(world, started, tmp_path):
    _, _, token, _ = world.guest()
    proxy = started(Proxy(tmp_path, world.control, node="leaver", name="leaver")).ready()
    api, _, token, _ = world.guest()
    url = proxy.url(f"/{api}/v1.0")
    wait_for(lambda: handshake(url, token)[0] == 101, "it serves")
    world.control.call("ProxyService/RemoveProxy", {"nodeId": "leaver", "group": "default"})
    wait_for(lambda: not connected(world, "leaver"), "it is cut off")
    proxy.said("refused")
    assert handshake(url, token)[0] == 101 and proxy.get("/ready")[0] == 200
    world.plan(3)
    world.settle()  # nobody waits for it
    proxy.terminate()
    again = started(Proxy(tmp_path, world.control, node="leaver", name="leaver")).ready()
    again.said("refused")
    assert handshake(again.url(f"/{api}/v1.0"), token)[0] == 101
    assert not connected(world, "leaver")


def test_a_join_token_has_its_uses_and_its_life(world, started, tmp_path):
    token = world.control.join_token(uses=2)
    for node in ("one", "two"):
        started(Proxy(tmp_path, world.control, node=node, name=node, join=token)).ready()
    third = started(Proxy(tmp_path, world.control, node="three", name="three", join=token))
    third.said("cannot join")
    short = world.control.call("ProxyService/CreateJoinToken", {"group": "default", "ttlS": "1"})["token"]
    expired_at = time.monotonic() + 1.2
    wait_for(lambda: time.monotonic() > expired_at, "it has expired")
    fourth = started(Proxy(tmp_path, world.control, node="four", name="four", join=short))
    fourth.said("cannot join")
    with pytest.raises(CallError):
        world.control.join_token(group="no-such-group")


def test_a_changed_configuration_reaches_every_proxy_before_wait_returns(world, started, tmp_path):
    names = ["east", "west"]
    proxies = [started(Proxy(tmp_path, world.control, node=n, name=n)).ready() for n in names]
    api, _, token, url = world.guest()
    for proxy in [world.proxy, *proxies]:
        assert handshake(proxy.url(f"/{api}/v1.0"), token)[0] == 101
    status = world.control.wait_rollout(world.revision)
    assert {p["proxy"] for p in status["proxies"] if p["state"] == "IN_FORCE"} >= {"proxy-1", *names}
    proxies[0].kill()
    wait_for(lambda: not connected(world, "east"), "it is away")
    status = world.control.wait_rollout(int(world.call("PlanService/CreatePlan", plan={
        "name": world.name("plan"), "spec": {"messages": 1}})["revision"]))
    assert {p["proxy"]: p["state"] for p in status["proxies"]}["east"] == "AWAY"


def test_a_proxy_that_cannot_use_a_resource_names_it_and_nothing_is_rolled_back(world, started, tmp_path):
    """A port that is taken on one proxy: what only that machine can know."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = world.call("ListenerService/CreateListener", listener={
            "name": "clash", "spec": {"address": "127.0.0.1", "port": port}})
        status = world.control.call("RolloutService/Wait", {
            "revision": answer["revision"], "group": "default", "timeoutMs": 3000})
        mine = [p for p in status["proxies"] if p["proxy"] == "proxy-1"][0]
        assert mine["state"] == "REFUSED", status
        refusal = mine["refusals"][0]
        assert (refusal["kind"], refusal["name"], refusal["field"]) == ("Listener", "clash", "spec.port")
        assert str(port) in refusal["reason"]
        assert world.control.call("ListenerService/GetListener", {"name": "clash"})
        assert str(port) in json.dumps(world.control.call("ProxyService/ListProxies"))
        # The good ones are in force all the same.
        _, _, token, url = world_guest_without_wait(world)
        wait_for(lambda: handshake(url, token)[0] == 101, "others are served")
    world.call("ListenerService/DeleteListener", name="clash")
    world.settle()


def world_guest_without_wait(world):
    name = world.api()
    app = world.app(name)
    return name, app, world.token(app), world.url(name)


# ---- TLS

def test_a_rotated_certificate_is_for_new_connections_and_live_ones_stay(own, run, tmp_path):
    world = own()
    api, _, token, _ = world.guest()
    url = world.url(api, listener="wss")
    port = world.proxy.port("wss")
    before = presented_certificate(port)
    certificate, key = make_certificate(tmp_path, "rotated")

    async def talk():
        async with connect(url, token, ca=world.control.ca) as live:
            await live.send("one")
            await live.recv()
            await asyncio.to_thread(world.call, "SecretService/UpdateSecret", secret={
                "name": "wss-default", "spec": {"certificatePem": certificate, "privateKeyPem": key}})
            await asyncio.to_thread(world.settle)
            after = await asyncio.to_thread(presented_certificate, port)
            assert after == ssl.PEM_cert_to_DER_cert(certificate) != before
            async with connect(url, token, ca=tmp_path / "rotated.pem") as new:
                await new.send("two")
                assert await new.recv() == "two"
            await live.send("three")
            assert await live.recv() == "three"
    run(talk())
    shown = world.proxy.get("/certs")[1]
    assert "rotated" in shown and "PRIVATE" not in shown
    secret = json.dumps(world.control.call("SecretService/GetSecret", {"name": "wss-default"}))
    assert "PRIVATE" not in secret + json.dumps(world.control.call("ResourceService/Export"))
    assert key.splitlines()[1] not in secret


def test_the_control_plane_takes_a_new_certificate_on_hup_and_nobody_notices(own, run):
    world = own()
    _, _, token, url = world.guest()
    ports = (world.control.door, world.control.grpc)
    before = [presented_certificate(port) for port in ports]
    for file in ("server.pem", "server-key.pem"):
        (world.control.data / "tls" / file).unlink()
    world.control.process.send_signal(signal.SIGHUP)
    world.control.said("certificates read again")
    for port, old in zip(ports, before):
        wait_for(lambda: presented_certificate(port) != old, f"port {port} presents the new one")
    # The proxy's streams go on, and a new one is let in.
    fresh = world.api()
    world.settle()
    assert handshake(world.url(fresh), token)[0] == 403
    assert world.proxy.terminate() == 0
    world.proxy = Proxy(world.folder, world.control).ready()
    wait_for(lambda: world.proxy.metric("sluice_control_plane_connected") == 1, "it is connected", 20)
    assert handshake(world.url(fresh), token)[0] == 403


def test_plain_text_on_the_tls_listener_and_tls_on_the_plain_one_end_quickly(world):
    with socket.create_connection(("127.0.0.1", world.proxy.port("wss")), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 101" not in plain.recv(1000)
    with pytest.raises((ssl.SSLError, OSError)):
        presented_certificate(world.proxy.port("ws"))


def test_a_wss_back_end_is_verified(world, started, tmp_path, run):
    certificate, key = make_certificate(tmp_path, "backend")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "backend.pem", tmp_path / "backend.key")
    backend = started(EchoBackend(ssl=context))
    secure = backend.url.replace("ws://127.0.0.1", "wss://localhost")
    _, _, token, url = world.guest(endpoint=secure)
    status, _, body = handshake(url, token)
    assert (status, body["code"]) == (503, "101503"), "its certificate is nobody's"
    _, _, token, url = world.guest(endpoints={"production": [secure], "tls": {"ca": certificate}})

    async def talk():
        async with connect(url, token) as connection:
            await connection.send("by TLS to the back end")
            return await connection.recv()
    assert run(talk()) == "by TLS to the back end"
    # A certificate for another name is none.
    _, _, token, url = world.guest(endpoints={"production": [secure], "tls": {
        "ca": certificate, "serverName": "another.example.com"}})
    assert handshake(url, token)[0] == 503
    assert key not in world.proxy.get("/config_dump")[1]


def test_a_name_that_leads_to_a_link_local_address_is_not_dialled(own, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("169.254.169.254 inside.test\n127.0.0.1 localhost\n")
    wrapper = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts)
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("a process cannot have a hosts file of its own here (no user namespaces)")
    world = own(wrapper=wrapper)
    _, _, token, url = world.guest(endpoint="ws://inside.test:9/")
    status, _, body = handshake(url, token)
    assert (status, body["code"]) == (503, "101503")
    assert world.proxy.metric("sluice_names_refused_local_total") >= 1
    world.proxy.said("`inside.test` leads to 169.254.169.254")
    assert "allow_local_endpoints" in world.proxy.log()


# ---- watching

def test_connections_by_the_control_plane(world, tmp_path):
    api, app, token, url = world.guest()
    ctl = Ctl(world.control, tmp_path)
    ctl("login", "--ca", world.control.ca, "--password-stdin", stdin=PASSWORD)
    with RawClient(url, token) as client:
        client.send(1, "x")
        client.next()
        identity = client.headers["X-Request-Id"]
        listed = wait_for(lambda: rows(world, connectionId=identity), "it is reported", 20)[0]
        assert (listed["api"], listed["application"], listed["live"]) == (api, app, True)
        assert listed["proxy"] == "proxy-1" and listed["clientAddress"] == "127.0.0.1"
        assert identity in ctl("connections", "list")
        # Revoked by its connection.
        wait_for(lambda: ctl.run("token", "revoke", "--connection", identity)[0] == 0, "revoked", 15)
        assert client.until_close() == (4001, "access token revoked")
    status, headers, _ = handshake(url, "unknown")
    assert status == 401
    refused = wait_for(lambda: rows(world, refused=True, connectionId=headers["X-Request-Id"]), "reported", 20)[0]
    assert (refused["status"], refused["code"]) == (401, 900901)
    shown = ctl("connections", "list", "--refused", "--id", headers["X-Request-Id"]).splitlines()
    assert len(shown) == 2 and headers["X-Request-Id"] in shown[1] and "900901" in shown[1], shown
    with ctl.start("connections", "tail", "--refused", "--id", headers["X-Request-Id"]) as tail:
        try:
            assert "CONNECTION" in tail.stdout.readline()
            assert headers["X-Request-Id"] in tail.stdout.readline()
        finally:
            tail.kill()


@pytest.mark.parametrize("style, code", [("reference", 4006), ("standard", 1008)])
def test_an_operator_closes_a_connection_by_the_control_plane(world, tmp_path, style, code):
    _, _, token, url = world.guest(closeCodes=style)
    ctl = Ctl(world.control, tmp_path)
    ctl("login", "--ca", world.control.ca, "--password-stdin", stdin=PASSWORD)
    with RawClient(url, token) as client, RawClient(url, token) as other:
        identity = client.headers["X-Request-Id"]
        assert "every few seconds" in ctl.refused("connections", "close", "nothing")
        client.send(1, "x")
        client.next()
        wait_for(lambda: rows(world, connectionId=identity), "it is reported", 20)
        told = ctl.start("connections", "close", identity)
        assert client.until_close() == (code, "closed by an operator")
        out, error = told.communicate(timeout=30)
        assert told.returncode == 0 and "has ended: closed by an operator" in out, (out, error)
        other.send(1, "still here")
        assert other.next()[2] == b"still here"
    assert "not open any more: closed by an operator" in ctl.refused("connections", "close", identity)


def rows(world, **request):
    return world.control.call("UsageService/ListConnections", request).get("connections")


def test_the_access_log_tells_a_connections_life(world, run):
    api, app, token, url = world.guest()

    async def talk():
        async with connect(f"{url}/room?x=1", token, user_agent_header="agent/1") as connection:
            for _ in range(3):
                await connection.send("12345")
                await connection.recv()
            await connection.close(4000, "my reason")
            return connection.response_headers["X-Request-Id"]
    identity = run(talk())
    entries = wait_for(lambda: len(world.proxy.log_entries(identity)) == 2 and world.proxy.log_entries(identity),
                       "both lines")
    opened, closed = entries
    assert (opened["event"], closed["event"]) == ("opened", "closed")
    assert {(e["api"], e["application"], e["topic"], e["status"], e["client"]) for e in entries} == {
        (api, app, "/room", 101, "127.0.0.1")}
    assert opened["user_agent"] == "agent/1" and opened["listener"] == "ws"
    assert (closed["close_code"], closed["close_side"], closed["reason"]) == (4000, "CLIENT", "my reason")
    assert (closed["messages_up"], closed["messages_down"], closed["bytes_up"], closed["bytes_down"]) == (3, 3, 15, 15)


# ---- a limit reached

def test_a_full_proxy_refuses_and_serves_again(own, run):
    """With descriptors for some 20 connections: 503, the live ones go on, and room comes back."""
    world = own(workers=1, wrapper=("prlimit", "--nofile=240:240"))
    _, _, token, url = world.guest()

    async def talk():
        live = []
        try:
            while True:
                assert len(live) < 60
                live.append(await connect(url, token))
        except websockets.InvalidStatusCode as error:
            assert error.status_code == 503 and error.headers["Retry-After"]
        assert len(live) >= 10
        for connection in live:
            await connection.send("goes on")
            assert await connection.recv() == "goes on"
        await live.pop().close()
        await live.pop().close()
        await asyncio.to_thread(wait_for, lambda: handshake(url, token)[0] == 101, "there is room again")
        for connection in live:
            await connection.close()
    run(talk())
    wait_for(lambda: world.proxy.metric("sluice_handshakes_refused_overload_total") >= 1, "it is counted")
