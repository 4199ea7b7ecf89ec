"""Every row of behaviour.md's table "Closes" that is built: codes and reasons, on both sides, in both styles."""

import asyncio
import time

import pytest
import websockets

from backends import EchoBackend, RawBackend, switching, until_end
from clients import CLOSE, CONTINUATION, PING, PONG, TEXT, Frames, NodeClient, RawClient, make_frame
from sluice import connect, wait_for

BOTH = pytest.mark.parametrize("style", ["reference", "standard"])


async def closed_by(url, token, act):
    """Opens, exchanges one message, acts, and gives (code, reason, seconds) of the close."""
    async with connect(url, token) as connection:
        await connection.send("hello")
        assert await asyncio.wait_for(connection.recv(), 10) == "hello"
        began = time.monotonic()
        await asyncio.to_thread(act)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 10)
        return connection.close_code, connection.close_reason, time.monotonic() - began


def check(world, run, url, token, act, code, reason, backend_code=None, seconds=1.0):
    before = len(world.backend.closes)
    got, words, took = run(closed_by(url, token, act))
    assert (got, words) == (code, reason)
    assert took <= seconds * 2  # the change itself is within; it must act within one second
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees the close")
    assert world.backend.closes[before] == (backend_code or code, reason)


# ---- the credential, the subscription, the application

def delete_subscription(w, api, app, token):
    w.call("SubscriptionService/DeleteSubscription", name=f"{app}:{api}")


def delete_plan(w, api, app, token):
    plan = w.plan(1000)
    w.call("ApiService/UpdateApi", api={"name": api, "spec": {
        **w.control.call("ApiService/GetApi", {"name": api})["spec"], "plans": ["Unlimited", plan]}})
    w.call("SubscriptionService/UpdateSubscription", subscription={
        "name": f"{app}:{api}", "spec": {"application": app, "api": api, "plan": plan}})
    w.settle()
    w.call("PlanService/DeletePlan", name=plan, cascade=True)


def delete_application(w, api, app, token):
    w.call("ApplicationService/DeleteApplication", name=app, cascade=True)


IDENTITY = {
    "token revoked": ("access token revoked", lambda w, api, app, token: w.revoke(token)),
    "tokens of the application revoked": (
        "access token revoked", lambda w, api, app, token: w.call("TokenService/RevokeToken", application=app)),
    "new keys": ("access token revoked", lambda w, api, app, token: w.call(
        "CredentialService/GenerateKeys", application=app, keyType="PRODUCTION")),
    "subscription blocked": (
        "subscription blocked", lambda w, api, app, token: w.subscription_status(app, api, "BLOCKED")),
    "subscription blocked for production": (
        "subscription blocked", lambda w, api, app, token: w.subscription_status(app, api, "PROD_ONLY_BLOCKED")),
    "subscription on hold": (
        "subscription on hold or rejected", lambda w, api, app, token: w.subscription_status(app, api, "ON_HOLD")),
    "subscription rejected": (
        "subscription on hold or rejected", lambda w, api, app, token: w.subscription_status(app, api, "REJECTED")),
    "subscription deleted": ("subscription deleted", delete_subscription),
    "plan of the subscription deleted": ("subscription deleted", delete_plan),
    "application blocked": (
        "application blocked", lambda w, api, app, token: w.application_status(app, "BLOCKED")),
    "application on hold": (
        "application on hold or rejected", lambda w, api, app, token: w.application_status(app, "ON_HOLD")),
    "application rejected": (
        "application on hold or rejected", lambda w, api, app, token: w.application_status(app, "REJECTED")),
}


@BOTH
@pytest.mark.parametrize("cause", IDENTITY)
def test_a_lost_right_closes(world, run, cause, style):
    reason, act = IDENTITY[cause]
    api, app, token, url = world.guest(closeCodes=style)
    check(world, run, url, token, lambda: act(world, api, app, token),
          4001 if style == "reference" else 1008, reason)


@BOTH
def test_a_deleted_application_closes(world, run, style):
    api, app, token, url = world.guest(closeCodes=style)
    check(world, run, url, token, lambda: delete_application(world, api, app, token),
          4001 if style == "reference" else 1008, "application deleted")


@BOTH
def test_an_expired_token_closes(world, run, style):
    api, app, _, url = world.guest(closeCodes=style)
    token = world.token(app, validity=2)
    expires = time.monotonic() + 2
    check(world, run, url, token, lambda: None, 4001 if style == "reference" else 1008,
          "access token expired", seconds=3)
    assert expires - 0.5 <= time.monotonic() <= expires + 1.5


@pytest.mark.parametrize("status", ["BLOCKED", "PROD_ONLY_BLOCKED"])
def test_a_sandbox_connection_stays_when_production_alone_is_blocked(world, run, status):
    api, app, _, url = world.guest()
    world.call("CredentialService/GenerateKeys", application=app, keyType="SANDBOX")
    token = world.token(app, "SANDBOX")

    async def talk():
        async with connect(url, token) as connection:
            await connection.send("before")
            await connection.recv()
            await asyncio.to_thread(world.subscription_status, app, api, status)
            await asyncio.to_thread(world.settle)
            await connection.send("after")
            return await connection.recv()
    if status == "PROD_ONLY_BLOCKED":
        assert run(talk()) == "after"
    else:
        with pytest.raises(websockets.ConnectionClosed):
            run(talk())


# ---- the API

def retire(w, api):
    w.state(api, "deprecate")
    w.state(api, "retire")


API = {
    "blocked": (4006, 1008, "API blocked", lambda w, api: w.state(api, "block")),
    "retired": (1001, 1001, "API retired", retire),
    "back to created": (4006, 1008, "API is no longer published", lambda w, api: w.state(api, "demote")),
    "deleted": (1001, 1001, "API deleted", lambda w, api: w.call("ApiService/DeleteApi", name=api, cascade=True)),
}


@BOTH
@pytest.mark.parametrize("cause", API)
def test_an_api_that_goes_closes(world, run, cause, style):
    reference, standard, reason, act = API[cause]
    api, _, token, url = world.guest(closeCodes=style)
    code = reference if style == "reference" else standard
    if cause == "deleted":
        # Its subscriptions go with it, by the other stream: that news may come first.
        got, words, took = run(closed_by(url, token, lambda: act(world, api)))
        assert (got, words) in [(code, reason), (4001 if style == "reference" else 1008, "subscription deleted")]
        assert took < 2
    else:
        check(world, run, url, token, lambda: act(world, api), code, reason)


def test_deprecating_and_prototyping_close_nobody(world, run):
    api, _, token, url = world.guest()

    async def talk():
        async with connect(url, token) as connection:
            for action in ("prototype", "publish", "deprecate"):
                await asyncio.to_thread(world.state, api, action)
                await asyncio.to_thread(world.settle)
                await connection.send(action)
                assert await connection.recv() == action
    run(talk())


# ---- limits

@BOTH
@pytest.mark.parametrize("side", ["client", "back end"])
def test_the_action_close_names_the_limit_and_when_it_opens(world, run, style, side):
    # One message and its echo: the one that is too much is the client's next, or the echo itself.
    plan = world.plan(2, onLimit="close") if side == "client" else world.plan(1, onLimitBackend="close")
    _, _, token, url = world.guest(plan=plan, closeCodes=style)

    async def talk():
        async with connect(url, token) as connection:
            await connection.send("one")
            if side == "client":
                await connection.recv()
                await connection.send("two")
            with pytest.raises(websockets.ConnectionClosed):
                await connection.recv()
            return connection.close_code, connection.close_reason
    code, reason = run(talk())
    assert code == (4003 if style == "reference" else 1013)
    assert reason.startswith(f"subscription plan {plan} is used up; it opens in ") and reason.endswith(" s")
    assert 0 < int(reason.split()[-2]) <= 3600
    expected = 4003 if style == "reference" else 1001  # 1013 is a server's word
    wait_for(lambda: (expected, reason) in world.backend.closes, "the back end sees it")


@BOTH
@pytest.mark.parametrize("side", ["client", "back end"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_message_that_is_too_large_closes(world, run, style, side, fragments):
    async def big(connection):
        async for message in connection:
            await connection.send("x" * 1001 if side == "back end" else message)
    own = EchoBackend(big)
    try:
        _, _, token, url = world.guest(closeCodes=style, endpoint=own.url, limits={"messageBytesMax": "1000"})

        async def talk():
            async with connect(url, token) as connection:
                if side == "client":
                    await connection.send("x" * 1000)
                    assert len(await connection.recv()) == 1000
                part = "x" * (1001 // fragments + 1)
                await connection.send([part] * fragments if side == "client" else "go")
                with pytest.raises(websockets.ConnectionClosed):
                    await connection.recv()
                return connection.close_code, connection.close_reason
        assert run(talk()) == (1009, "message over 1000 bytes")
        wait_for(lambda: own.closes == [(1009, "message over 1000 bytes")], lambda: own.closes)
    finally:
        own.stop()


# ---- who does not answer, or not as the protocol asks

PINGS = {"pingInterval": "1s"}


def test_a_client_that_answers_no_pings_is_closed_1014_and_the_back_end_1001(world):
    _, _, token, url = world.guest(limits=PINGS)
    before = len(world.backend.closes)
    with RawClient(url, token) as client:
        began = time.monotonic()
        assert client.until_close() == (1014, "pings unanswered")
        assert 2 <= time.monotonic() - began < 8
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees it")
    assert world.backend.closes[before] == (1001, "pings unanswered")


def test_a_back_end_that_answers_no_pings_ends_it_too(world, started):
    seen = []

    def script(connection, head):
        connection.sendall(switching(head))
        frames = Frames(connection)
        while True:
            _, opcode, payload, _ = frames.next()
            seen.append((opcode, payload))
            if opcode == CLOSE:
                return
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url, limits=PINGS)
    with RawClient(url, token) as client:
        assert client.until_close(answer_pings=True) == (1014, "pings unanswered")
    wait_for(lambda: any(opcode == CLOSE for opcode, _ in seen), lambda: seen)
    assert [opcode for opcode, _ in seen].count(PING) >= 2
    assert seen[-1] == (CLOSE, b"\x03\xe9pings unanswered")


def test_who_answers_pings_stays(world, run):
    _, _, token, url = world.guest(limits=PINGS)
    with NodeClient(url, token) as node:
        for number in (1, 2, 3):
            node.event("ping", number=number)
        node.tell(send="still here")
        assert node.event("message")["data"] == "still here"
        assert not [e for e in node.events if e["event"] == "close"]


@pytest.mark.parametrize("name, wrong", {
    "no mask": lambda: make_frame(TEXT, "hello", mask=False),
    "reserved bit": lambda: make_frame(TEXT, "hello", rsv=4),
    "unknown opcode": lambda: make_frame(3, "hello"),
    "fragmented ping": lambda: make_frame(PING, "hello", fin=False),
    "long ping": lambda: make_frame(PING, "x" * 126),
    "continuation of nothing": lambda: make_frame(CONTINUATION, "hello"),
    "message in a message": lambda: make_frame(TEXT, "a", fin=False) + make_frame(TEXT, "b"),
    "close of one byte": lambda: make_frame(CLOSE, b"\x03"),
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_protocol_error_closes_1002_on_both_sides(world, name, wrong):
    _, _, token, url = world.guest()
    before = len(world.backend.closes)
    with RawClient(url, token) as client:
        client.send(TEXT, "hello")
        assert client.next()[2] == b"hello"
        client.socket.sendall(wrong())
        assert client.until_close()[0] == 1002
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees it")
    assert world.backend.closes[before][0] == 1002


def test_a_back_end_that_masks_is_a_protocol_error_too(world, started):
    def script(connection, head):
        connection.sendall(switching(head) + make_frame(TEXT, "masked", mask=True))
        until_end(connection)
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url)
    with RawClient(url, token) as client:
        assert client.until_close()[0] == 1002


def test_a_flood_of_pings_closes_1008(world):
    _, _, token, url = world.guest()
    with RawClient(url, token) as client:
        client.socket.sendall(make_frame(PING, "x") * 250)
        assert client.until_close() == (1008, "too many control frames")


@BOTH
def test_a_back_end_that_is_gone_without_a_close_frame_is_told_as_1014(world, started, style):
    def script(connection, head):
        connection.sendall(switching(head))
        connection.recv(1)
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url, closeCodes=style)
    with RawClient(url, token) as client:
        client.send(TEXT, "go")
        code, reason = client.until_close()
    assert code == 1014 and reason == "backend connection lost"


def test_a_client_that_is_gone_without_a_close_frame_is_told_to_the_back_end(world):
    _, _, token, url = world.guest()
    before = len(world.backend.closes)
    client = RawClient(url, token)
    client.close()
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees it")
    assert world.backend.closes[before] == (1001, "client gone")


@BOTH
@pytest.mark.parametrize("field, reason", [("idleTimeout", "idle for too long"),
                                           ("ageMax", "maximum age reached")])
def test_an_idle_or_old_connection_is_closed_1001(world, run, style, field, reason):
    _, _, token, url = world.guest(closeCodes=style, limits={field: "1s"})
    check(world, run, url, token, lambda: None, 1001, reason, seconds=3)


# ---- the peers' own closes pass through, and are told in the records

@pytest.mark.parametrize("code, reason", [(1000, ""), (1000, "bye"), (4321, "my own"), (1011, "broken")])
def test_a_clients_close_reaches_the_back_end(world, run, code, reason):
    _, _, token, url = world.guest()
    before = len(world.backend.closes)

    async def talk():
        async with connect(url, token) as connection:
            await connection.close(code, reason)
    run(talk())
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees it")
    assert world.backend.closes[before] == (code, reason)


@pytest.mark.parametrize("code, reason", [(1000, "done"), (4321, "my own"), (1012, "restart")])
def test_a_back_ends_close_reaches_the_client_and_the_records(world, started, code, reason):
    async def handler(connection):
        await connection.recv()
        await connection.close(code, reason)
    backend = started(EchoBackend(handler))
    api, _, token, url = world.guest(endpoint=backend.url)
    with NodeClient(url, token) as node:
        identity = node.event("upgrade")["headers"]["x-request-id"]
        node.tell(send="go")
        closed = node.event("close")
    assert (closed["code"], closed["reason"]) == (code, reason)

    def record():
        records = world.control.call("UsageService/ListRecords", {"connectionId": identity}).get("records", [])
        return [r for r in records if r["part"] == "FINAL"]
    final = wait_for(record, "the record", 15)[0]
    assert (final["closeCode"], final["closeSide"], final["api"]) == (code, "BACKEND", api)
    entry = wait_for(lambda: [e for e in world.proxy.log_entries(identity) if e["event"] == "closed"], "the line")[0]
    assert (entry["close_code"], entry["close_side"].lower()) == (code, "backend")


def test_a_close_without_a_code_passes_as_it_is(world):
    _, _, token, url = world.guest()
    before = len(world.backend.closes)
    with RawClient(url, token) as client:
        client.send(CLOSE)
        assert client.until_close()[0] in (1000, 1005)
    wait_for(lambda: len(world.backend.closes) > before, "the back end sees it")
    assert world.backend.closes[before][0] == 1005


def test_the_clients_pong_reaches_the_back_end_and_ours_does_not(world, started):
    seen = []

    def script(connection, head):
        connection.sendall(switching(head) + make_frame(PING, "from the back end", mask=False))
        frames = Frames(connection)
        while True:
            _, opcode, payload, _ = frames.next()
            seen.append((opcode, payload))
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url, limits=PINGS)
    with NodeClient(url, token) as node:
        node.event("ping", number=3)  # one of the back end, two of the proxy
        wait_for(lambda: (PONG, b"from the back end") in seen, lambda: seen)
        wait_for(lambda: any(opcode == PING for opcode, _ in seen), lambda: seen)
    assert [payload for opcode, payload in seen if opcode == PONG] == [b"from the back end"]
