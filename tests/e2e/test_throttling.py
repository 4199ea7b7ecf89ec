"""Exactly N messages pass a plan of N; what happens to the next one; changes of plans while messages run."""

import asyncio
import random
import time

import pytest
import websockets

from backends import EchoBackend, RawBackend, sink_backend, switching
from clients import CONTINUATION, PING, PONG, TEXT, Frames, NodeClient, RawClient, make_frame
from sluice import connect, handshake, wait_for
from world import World, clear_of_edge

NOTICE = "Websocket frame throttled out"
HOUR = 3600


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Gateways by their number of workers, started when asked for."""
    worlds = {}

    def of(count):
        if count not in worlds:
            worlds[count] = World(tmp_path_factory.mktemp(f"workers-{count}"), workers=count)
        return worlds[count]
    yield of
    for one in worlds.values():
        one.stop()


@pytest.fixture(autouse=True)
def within_one_hour():
    clear_of_edge(HOUR, 45)


def drop_all(world, messages, **spec):
    return world.plan(messages, onLimit="drop", onLimitBackend="drop", **spec)


async def passed(connection):
    """Everything sent on it has been seen by the proxy: pings keep their place among messages."""
    await asyncio.wait_for(await connection.ping(), 20)


class Crowd:
    """Several connections on one token that count what they get."""

    def __init__(self, url, token, size, **options):
        self.got = []
        self._url, self._token, self._size, self._options = url, token, size, options

    async def __aenter__(self):
        self.connections = [await connect(self._url, self._token, **self._options) for _ in range(self._size)]
        self._readers = [asyncio.create_task(self._read(c)) for c in self.connections]
        return self

    async def _read(self, connection):
        try:
            async for message in connection:
                self.got.append(message)
        except websockets.ConnectionClosed:
            pass

    async def send(self, each):
        """So many messages on each, all at the same time."""
        async def one(connection):
            for number in range(each):
                await connection.send(f"message {number}")
            await passed(connection)
        await asyncio.gather(*[one(c) for c in self.connections])

    async def __aexit__(self, *_):
        for connection in self.connections:
            await connection.close()
        for reader in self._readers:
            await reader


async def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


# ---- exactly N

@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_exactly_n_pass(workers, started, run, count, direction):
    n, connections, offered = 61, 6, 20
    world = workers(count)
    go = []

    async def source(connection):
        await connection.recv()
        await until(lambda: go)
        for number in range(offered):
            await connection.send(f"message {number}")
        await connection.wait_closed()
    backend = started({"up": sink_backend, "both": EchoBackend, "down": lambda: EchoBackend(source)}[direction]())
    plan = drop_all(world, n)
    api, _, token, url = world.guest(endpoint=backend.url, plan=plan)

    async def talk():
        async with Crowd(url, token, connections) as crowd:
            def total():
                ups = connections if direction == "down" else len(backend.messages)
                return ups + len(crowd.got)
            await crowd.send(1 if direction == "down" else offered)
            go.append(True)
            await until(lambda: total() >= n)
            await crowd.send(3)
            for connection in crowd.connections:
                await passed(connection)
            assert total() == n
            assert (await asyncio.to_thread(handshake, url, token))[0] == 429
        return len(crowd.got)
    down = run(talk())
    sent_up = connections * (1 + 3 if direction == "down" else offered + 3)
    sent_down = {"up": 0, "down": connections * offered, "both": n - down}[direction]
    expected = (n - down, down, sent_up + sent_down - n)
    wait_for(lambda: counted(world, api) == expected, lambda: (counted(world, api), expected), 20)


def counted(world, api):
    sums = world.usage(api)
    return sums["messagesUp"], sums["messagesDown"], sums["throttled"]


@pytest.mark.parametrize("level", ["api", "application"])
def test_the_other_levels_count_exactly_too(world, started, run, level):
    backend = started(sink_backend())
    plan = drop_all(world, 25)
    spec = {"api_plan": plan} if level == "api" else {"application_plan": plan}
    _, _, token, url = world.guest(endpoint=backend.url, **spec)

    async def talk():
        async with Crowd(url, token, 3) as crowd:
            await crowd.send(15)
            await until(lambda: len(backend.messages) >= 25)
    run(talk())
    assert len(backend.messages) == 25
    assert handshake(url, token)[2]["code"] == ("900800" if level == "api" else "900803")


def test_an_application_plan_counts_all_its_apis_and_an_api_plan_all_its_applications(world, started, run):
    backend = started(sink_backend())
    apis = [world.api(backend.url), world.api(backend.url)]
    token = world.token(world.app(*apis, application_plan=drop_all(world, 10)))
    shared = world.api(backend.url, apiPlan=drop_all(world, 8))
    others = [world.token(world.app(shared)) for _ in range(2)]
    world.settle()

    async def send(url, key, count):
        async with Crowd(url, key, 1) as crowd:
            await crowd.send(count)

    async def talk():
        await send(world.url(apis[0]), token, 6)
        await send(world.url(apis[1]), token, 6)
        await until(lambda: len(backend.messages) >= 10)
        assert len(backend.messages) == 10
        await send(world.url(shared), others[0], 6)
        await send(world.url(shared), others[1], 6)
        await until(lambda: len(backend.messages) >= 18)
        assert len(backend.messages) == 18
    run(talk())
    # The one key that is left of both levels names the one that trips.
    assert handshake(world.url(apis[1]), token)[2]["code"] == "900803"
    assert handshake(world.url(shared), others[1])[2]["code"] == "900800"


def test_a_message_that_one_level_refuses_charges_none(world, started, run):
    """The subscription's plan drops what the application's plan then still has for another API."""
    backend = started(sink_backend())
    plan = drop_all(world, 5)
    narrow = world.api(backend.url, plans=[plan])
    wide = world.api(backend.url)
    app = world.app(narrow, plan=plan, application_plan=drop_all(world, 20))
    world.subscribe(app, wide)
    token = world.token(app)
    world.settle()

    async def talk():
        async with Crowd(world.url(narrow), token, 1) as crowd:
            await crowd.send(12)
        await until(lambda: len(backend.messages) == 5)
        async with Crowd(world.url(wide), token, 1) as crowd:
            await crowd.send(20)
            await until(lambda: len(backend.messages) >= 20)
    run(talk())
    assert len(backend.messages) == 20


def test_bytes_count_as_sent(world, started, run):
    backend = started(sink_backend())
    plan = world.plan(0, bytes="1000", onLimit="drop")
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)

    async def talk():
        async with connect(url, token) as connection:
            for size in (400, 400, 400, 200, 1):  # the third does not fit, the fourth fills it up
                await connection.send("x" * size)
            await passed(connection)
    run(talk())
    wait_for(lambda: len(backend.messages) >= 3, "messages arrive")
    assert [len(m) for m in backend.messages] == [400, 400, 200]


def test_a_handshake_and_control_frames_charge_nothing(world, started, run):
    backend = started(sink_backend())
    _, _, token, url = world.guest(endpoint=backend.url, plan=drop_all(world, 3))

    async def talk():
        for _ in range(10):
            async with connect(url, token) as connection:
                await passed(connection)
        async with Crowd(url, token, 1) as crowd:
            await crowd.send(5)
    run(talk())
    wait_for(lambda: len(backend.messages) == 3, lambda: backend.messages)


# ---- what happens to the next one

def test_the_notice_comes_once_a_second_and_from_the_apis_template(world, started, run):
    backend = started(sink_backend())
    plan = world.plan(1)
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan,
                                   throttleNotice="{limit}: wait {seconds} s, please")

    async def talk():
        async with Crowd(url, token, 1) as crowd:
            began = time.monotonic()
            await crowd.send(40)
            await until(lambda: crowd.got)
            while len(crowd.got) < 3:
                await crowd.send(5)
                assert len(crowd.got) <= 1 + int(time.monotonic() - began)
                await asyncio.sleep(0.05)  # pings have a rate of their own
            return crowd.got[0]
    notice = run(talk())
    limit, rest = notice.split(": wait ")
    assert limit == f"subscription plan {plan}"
    assert 0 < int(rest.removesuffix(" s, please")) <= HOUR
    assert backend.messages == ["message 0"]


def test_the_default_notice_is_the_references(world, started):
    backend = started(sink_backend())
    _, _, token, url = world.guest(endpoint=backend.url, plan=world.plan(1))
    with NodeClient(url, token) as node:
        node.event("open")
        node.tell(send="one")
        node.tell(send="two")
        assert node.event("message")["data"] == NOTICE


def test_a_dropped_message_is_dropped_with_all_its_fragments(world, started):
    backend = started(sink_backend())
    _, _, token, url = world.guest(endpoint=backend.url, plan=world.plan(2, onLimit="drop"))
    with RawClient(url, token) as client:
        client.send(TEXT, "whole")
        for part, opcode, fin in (("a", TEXT, False), ("b", CONTINUATION, False), ("c", CONTINUATION, True)):
            client.send(opcode, part, fin=fin)
        client.send(TEXT, "not", fin=False)
        client.send(PING, "between fragments")
        assert client.next()[1:3] == (PONG, b"between fragments")
        client.send(CONTINUATION, "this")
        client.send(PING, "last")
        assert client.next()[1:3] == (PONG, b"last")
    wait_for(lambda: len(backend.messages) >= 2, "both arrive")
    assert backend.messages == ["whole", "abc"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_delay_loses_nothing_and_keeps_the_order(world, started, run, direction):
    numbers = [str(n) for n in range(9)]

    async def source(connection):
        for number in numbers:
            await connection.send(number)
        await connection.wait_closed()
    backend = started(sink_backend() if direction == "up" else EchoBackend(source))
    # For a back end's messages delay is the default.
    plan = world.plan(3, per="2s", **({"onLimit": "delay"} if direction == "up" else {}))
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)

    async def talk():
        began = time.monotonic()
        async with connect(url, token) as connection:
            got = backend.messages
            if direction == "up":
                for number in numbers:
                    await connection.send(number)
                await until(lambda: len(got) >= len(numbers), 20)
            else:
                got = [await connection.recv() for _ in numbers]
        assert got == numbers
        assert time.monotonic() - began >= 2
    run(talk())


def test_close_closes_the_one_connection_alone(world, started, run):
    backend = started(sink_backend())
    _, _, token, url = world.guest(endpoint=backend.url, plan=world.plan(1, onLimit="close"))

    async def talk():
        async with connect(url, token) as one, connect(url, token) as two:
            await one.send("fits")
            await one.send("does not")
            with pytest.raises(websockets.ConnectionClosed):
                await one.recv()
            assert one.close_code == 4003
            await passed(two)
            assert two.open
    run(talk())
    assert backend.messages == ["fits"]


# ---- the notice's place

def test_the_notice_waits_for_the_end_of_a_fragmented_message(world, started):
    gate = []

    def script(connection, head):
        connection.sendall(switching(head))
        frames = Frames(connection)
        while True:
            _, opcode, payload, _ = frames.next()
            if opcode == PING:
                gate.append(payload)
                connection.sendall(make_frame(PONG, payload, mask=False))
            elif payload == b"go":
                connection.sendall(make_frame(TEXT, "first ", fin=False, mask=False))
            if payload == b"finish":
                connection.sendall(make_frame(CONTINUATION, "second ", fin=False, mask=False))
                connection.sendall(make_frame(CONTINUATION, "third", mask=False))
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url, plan=world.plan(2))
    with RawClient(url, token) as client:
        client.send(TEXT, "go")
        assert client.next()[:3] == (False, TEXT, b"first ")
        client.send(TEXT, "over the limit")
        # A ping there and back: had the notice not waited, it would stand before the pong.
        client.send(PING, "ping")
        assert client.next()[1:3] == (PONG, b"ping")
        client.send(PING, "finish")
        seen = [client.next()[:3] for _ in range(4)]
    frames = [f for f in seen if f[1] != PONG]
    assert frames == [(False, CONTINUATION, b"second "), (True, CONTINUATION, b"third"),
                      (True, TEXT, NOTICE.encode())]


def words(count):
    """Text that compresses against what came before."""
    rng = random.Random(7)
    vocabulary = ["sluice", "gateway", "message", "boundary", "compressed", "window", "limit"]
    return [" ".join(rng.choice(vocabulary) for _ in range(40)) + f" {n}" for n in range(count)]


def test_a_compressed_conversation_survives_drops_and_notices(world, started, run):
    backend = started(EchoBackend())
    plan = world.plan(8)
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)
    texts = words(16)

    async def answer(connection):
        while (message := await connection.recv()) == NOTICE:
            pass
        return message

    async def talk():
        async with connect(url, token, compression="deflate") as connection:
            agreed = connection.response_headers["Sec-WebSocket-Extensions"]
            assert "permessage-deflate" in agreed and "client_no_context_takeover" in agreed
            for text in texts[:4]:
                await connection.send(text)
                assert await connection.recv() == text
            for text in texts[4:8]:
                await connection.send(text)
            assert await connection.recv() == NOTICE
            await asyncio.to_thread(raise_limit, world, plan, 100)
            for text in texts[8:]:
                await connection.send(text)
                assert await answer(connection) == text
    run(talk())
    assert backend.messages == texts[:4] + texts[8:]


def test_a_compressed_conversation_of_nodes_ws_survives_too(world, started):
    backend = started(EchoBackend())
    plan = world.plan(4)
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)
    texts = words(8)
    with NodeClient(url, token, deflate=True) as node:
        assert "permessage-deflate" in node.event("open")["extensions"]
        for number, text in enumerate(texts[:2], 1):
            node.tell(send=text)
            node.event("message", number=number)
        node.tell(fragments=[texts[2][:30], texts[2][30:]])
        assert node.event("message", number=3)["data"] == NOTICE
        raise_limit(world, plan, 100)
        for number, text in enumerate(texts[4:], 4):
            node.tell(fragments=[text[:20], text[20:40], text[40:]])
            node.event("message", number=number)
        assert node.messages() == texts[:2] + [NOTICE] + texts[4:]
    assert backend.messages == texts[:2] + texts[4:]


def test_where_compression_keeps_its_context_a_message_is_delayed_instead_of_dropped(world, started, run):
    """Opened on Unlimited, so contexts are kept; then a plan that would drop."""
    backend = started(EchoBackend())
    small = world.plan(2)
    api, app, token, url = world.guest(endpoint=backend.url, plans=["Unlimited", small])
    texts = words(6)

    async def talk():
        async with connect(url, token, compression="deflate") as connection:
            assert "no_context" not in connection.response_headers["Sec-WebSocket-Extensions"]
            for text in texts[:2]:
                await connection.send(text)
                assert await connection.recv() == text
            await asyncio.to_thread(change_subscription, world, app, api, small)
            await connection.send(texts[2])
            assert await connection.recv() == texts[2]
            await connection.send(texts[3])  # over the limit
            await asyncio.to_thread(change_subscription, world, app, api, "Unlimited")
            for text in texts[4:]:
                await connection.send(text)
            assert [await connection.recv() for _ in range(3)] == texts[3:]
    run(talk())
    assert backend.messages == texts


# ---- changes of a plan

def raise_limit(world, plan, messages, **spec):
    world.call("PlanService/UpdatePlan", plan={
        "name": plan, "spec": {"messages": messages, "per": "3600s", **spec}})
    world.settle()


def change_subscription(world, app, api, plan):
    world.call("SubscriptionService/UpdateSubscription", subscription={
        "name": f"{app}:{api}", "spec": {"application": app, "api": api, "plan": plan}})
    world.settle()


def test_a_plan_that_is_changed_keeps_its_counts(world, started, run):
    backend = started(sink_backend())
    plan = drop_all(world, 5)
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)
    drop = {"onLimit": "drop", "onLimitBackend": "drop"}

    async def talk():
        async with Crowd(url, token, 2) as crowd:
            for limit in (5, 8, 6, 12):
                await asyncio.to_thread(raise_limit, world, plan, limit, **drop)
                await crowd.send(10)
                await until(lambda: len(backend.messages) >= {5: 5, 8: 8, 6: 8, 12: 12}[limit])
                await crowd.send(1)
                assert len(backend.messages) == {5: 5, 8: 8, 6: 8, 12: 12}[limit], limit
    run(talk())


def test_a_burst_across_edits_lets_exactly_the_last_limit_through(workers, started, run):
    world = workers(4)
    backend = started(sink_backend())
    plan = drop_all(world, 100)
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)
    drop = {"onLimit": "drop", "onLimitBackend": "drop"}

    async def talk():
        async with Crowd(url, token, 6) as crowd:
            flood = asyncio.create_task(flood_until(crowd))
            for limit in (150, 200, 250, 300):
                await asyncio.to_thread(raise_limit, world, plan, limit, **drop)
            await until(lambda: len(backend.messages) >= 300)
            crowd.full = True
            await flood
            await crowd.send(5)

    async def flood_until(crowd):
        crowd.full = False
        while not crowd.full:
            await crowd.send(20)
            await asyncio.sleep(0.03)  # pings have a rate of their own
    run(talk())
    assert len(backend.messages) == 300


def test_another_plan_for_a_subscription_is_adopted_at_once(world, started, run):
    backend = started(sink_backend())
    plans = [drop_all(world, 3), drop_all(world, 7)]
    api, app, token, url = world.guest(endpoint=backend.url, plan=plans[0], plans=plans)

    async def talk():
        async with Crowd(url, token, 1) as crowd:
            await crowd.send(10)
            await until(lambda: len(backend.messages) == 3)
            await asyncio.to_thread(change_subscription, world, app, api, plans[1])
            await crowd.send(10)
            await until(lambda: len(backend.messages) >= 7)
    run(talk())
    assert len(backend.messages) == 7


def test_a_delayed_message_passes_when_the_plan_grows(world, started, run):
    backend = started(sink_backend())
    plan = world.plan(1, onLimit="delay")
    _, _, token, url = world.guest(endpoint=backend.url, plan=plan)

    async def talk():
        async with connect(url, token) as connection:
            for number in range(4):
                await connection.send(str(number))
            await until(lambda: len(backend.messages) == 1)
            await asyncio.to_thread(raise_limit, world, plan, 10, onLimit="delay")
            await until(lambda: len(backend.messages) == 4, 5)
    run(talk())
    assert backend.messages == ["0", "1", "2", "3"]
