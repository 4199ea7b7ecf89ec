"""Programs killed under traffic: what is lost (nothing), and that records arrive exactly once all the same."""

import json

import pytest

from backends import BenchBackend
from clients import Ledger, nothing_lost
from sluice import PATIENCE, ControlPlane, Proxy, connect, handshake, wait_for
from world import World

pytestmark = pytest.mark.slow

CONNECTIONS = 20


@pytest.fixture
def gateway(tmp_path, started):
    """A world whose parts the test kills itself: (world, API, application, tokens), back end of the bench."""
    backend = started(BenchBackend(tmp_path))
    world = started(World(tmp_path, workers=2))
    api = world.api(backend.url)
    app = world.app(api)
    tokens = [world.token(app) for _ in range(CONNECTIONS)]
    world.settle()
    return world, api, app, tokens


def all_records(world, **which):
    records, token = [], ""
    while True:
        page = world.control.call("UsageService/ListRecords", {"pageSize": 500, "pageToken": token, **which})
        records += page.get("records", [])
        token = page.get("nextPageToken", "")
        if not token:
            return records


def exactly_once(records):
    """No record twice, and none missing between the first and the last of each epoch."""
    keys = [(r["proxy"], int(r["epoch"]), int(r["sequence"])) for r in records]
    assert len(keys) == len(set(keys))
    for epoch in {key[:2] for key in keys}:
        numbers = sorted(sequence for *e, sequence in keys if tuple(e) == epoch)
        assert numbers == list(range(1, len(numbers) + 1)), epoch


def restart_control(world):
    ports = (world.control.door, world.control.grpc)
    world.control.kill()
    return ports


def come_back(world, ports, started):
    world.control = started(ControlPlane(world.folder, ports=ports)).login()


def test_the_control_plane_killed_under_traffic(gateway, started, run, tmp_path):
    world, api, app, tokens = gateway
    url = world.url(api)
    unheard = world.token(app)
    ledger = started(Ledger([url], tokens, CONNECTIONS, interval_ms=50, folder=tmp_path))
    assert ledger.wait_open() == CONNECTIONS
    wait_for(lambda: world.usage(api)["messagesUp"] > 0, "interim records", 20)
    ports = restart_control(world)

    # Known tokens open connections, unknown ones cannot be checked; no message is lost.
    world.proxy.said("lost the control plane")
    assert handshake(url, tokens[0])[0] == 101
    wait_for(lambda: handshake(url, unheard)[0] == 503, "nobody can check an unheard token")
    status, headers, body = handshake(url, unheard)
    assert (status, body["code"]) == (503, "101507") and int(headers["Retry-After"]) > 0
    assert "control plane" in body["description"]
    entry = world.logged(headers["X-Request-Id"])[0]
    assert (entry["status"], entry["code"]) == (503, 101507)
    assert world.proxy.get("/ready")[0] == 200, "losing the control plane does not unready"

    async def talk(text):
        async with connect(world.url(api), tokens[0]) as connection:
            await connection.send(text)
            return await connection.recv()
    assert run(talk("x")) == "x"
    first = ledger.finish()
    assert nothing_lost(first) and first["closed_by_peer"] == 0 and first["sent"] > CONNECTIONS

    # Restarted alone it serves from disk.
    assert world.proxy.terminate() == 0
    world.proxy = started(Proxy(world.folder, world.control)).ready()
    assert not world.control.alive()
    assert run(talk("y")) == "y"
    status, _, body = handshake(world.url(api), unheard)
    assert (status, body["code"]) == (503, "101507")
    second = started(Ledger([world.url(api)], tokens, CONNECTIONS, interval_ms=50, folder=tmp_path))
    assert second.wait_open() == CONNECTIONS

    # It returns: what it missed comes, every record once, and nobody notices.
    come_back(world, ports, started)
    wait_for(lambda: world.proxy.metric("sluice_control_plane_connected") == 1, "the proxy is connected", 60)
    wait_for(lambda: handshake(world.url(api), unheard)[0] == 101, "an unheard token can be checked", 30)
    last = second.finish()
    assert nothing_lost(last) and last["closed_by_peer"] == 0
    up = first["sent"] + last["sent"] + 2
    down = first["received"] + last["received"] + 2
    wait_for(lambda: counted(world, api) == (up, down), lambda: (counted(world, api), up, down), 60)
    exactly_once(all_records(world))
    wait_for(lambda: world.proxy.metric("sluice_spool_records") == 0, "everything is acknowledged", 20)
    assert world.proxy.metric("sluice_records_dropped_total") == 0


def counted(world, api):
    sums = world.usage(api)
    return sums["messagesUp"], sums["messagesDown"]


def test_what_is_revoked_while_a_proxy_is_away_is_heard_when_it_is_back(gateway, started, run):
    """And what is created: a proxy that comes back has missed nothing."""
    world, api, app, tokens = gateway
    assert handshake(world.url(api), tokens[0])[0] == 101
    assert world.proxy.terminate() == 0
    world.revoke(tokens[0])
    fresh = world.api()
    world.subscribe(app, fresh)
    world.proxy = started(Proxy(world.folder, world.control)).ready()
    wait_for(lambda: handshake(world.url(api), tokens[0])[0] == 401, "the revocation is heard", 20)
    wait_for(lambda: handshake(world.url(fresh), tokens[1])[0] == 101, "the new API is served", 20)


def test_the_control_plane_restarted_gently_costs_no_message_either(gateway, started, tmp_path):
    world, api, _, tokens = gateway
    ledger = started(Ledger([world.url(api)], tokens, CONNECTIONS, interval_ms=50, folder=tmp_path))
    assert ledger.wait_open() == CONNECTIONS
    for _ in range(2):
        ports = (world.control.door, world.control.grpc)
        assert world.control.terminate(2.5 * PATIENCE) == 0
        come_back(world, ports, started)
        wait_for(lambda: world.proxy.metric("sluice_control_plane_connected") == 1, "connected", 60)
        world.plan(5)
        world.settle()
    report = ledger.finish()
    assert nothing_lost(report) and report["closed_by_peer"] == 0


def test_a_proxy_killed_under_traffic(gateway, started, tmp_path):
    world, api, _, tokens = gateway
    depth = 4
    ledger = started(Ledger([world.url(api)], tokens, CONNECTIONS, depth=depth, folder=tmp_path))
    assert ledger.wait_open() == CONNECTIONS
    wait_for(lambda: world.usage(api)["messagesUp"] > 0, "interim records", 20)
    world.proxy.kill()
    report = ledger.finish()
    assert report["sent"] > 1000

    world.proxy = started(Proxy(world.folder, world.control)).ready()
    recovered = wait_for(lambda: complete(world, api), "the records of the killed process", 30)
    assert {r["connectionId"] for r in recovered} and len(recovered) == CONNECTIONS
    up, down = counted(world, api)
    # What was in flight when it died was counted or not; and one loop turn of a worker, which passes on what it
    # read before it counts it, may be missing.
    turn = 2 * depth
    assert report["received"] - turn <= up <= report["sent"], (report["received"], up, report["sent"])
    assert report["received"] - turn <= down <= up, (report["received"], down, up)
    exactly_once(all_records(world))

    # Once delivered it is not delivered again.
    world.proxy.kill()
    world.proxy = started(Proxy(world.folder, world.control)).ready()
    more = started(Ledger([world.url(api)], tokens, 2, interval_ms=50, folder=tmp_path,
                          arguments=["--messages", 10]))
    extra = more.finish()
    assert nothing_lost(extra)
    wait_for(lambda: counted(world, api) == (up + extra["sent"], down + extra["received"]),
             lambda: (counted(world, api), up, down, extra["sent"]), 30)
    exactly_once(all_records(world))


def complete(world, api):
    records = [r for r in all_records(world, api=api) if r["part"] == "RECOVERED"]
    return records if len(records) >= CONNECTIONS else None


def test_a_damaged_last_good_file_never_prevents_a_start(gateway, started):
    world, api, _, tokens = gateway
    assert world.proxy.terminate() == 0
    file = world.proxy.data / "last-good.db"
    assert file.exists()
    for journal in world.proxy.data.glob("last-good.db-*"):
        journal.unlink()
    file.write_bytes(b"no database at all" * 1000)
    world.proxy = started(Proxy(world.folder, world.control)).ready()
    assert handshake(world.url(api), tokens[0])[0] == 101
    assert any(p.name.startswith("last-good.db.") or "damaged" in p.name for p in world.proxy.data.iterdir()), list(
        world.proxy.data.iterdir())


def test_the_door_tells_its_health_and_shows_its_metrics_to_those_who_have_logged_in(gateway):
    world, *_ = gateway
    for path in ("/healthz", "/readyz"):
        assert world.control.request("GET", path)[0] == 200
    status, _, _ = world.control.request("GET", "/metrics")
    assert status == 401
    status, _, text = world.control.request("GET", "/metrics", headers={
        "Authorization": f"Bearer {world.control.token}"})
    assert status == 200 and b"# TYPE sluice_" in text
    for name in (b"calls", b"logins", b"clients"):
        assert b"\nsluice_" + name + b"_refused_total 0\n" in text
    assert json.loads(world.proxy.get("/server_info")[1])["control_plane"]["connected"] is True
