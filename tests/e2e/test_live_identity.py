"""2,000 live connections with tokens of their own, on two workers, plain and TLS: what ends or changes a right
acts on the half concerned within a second, and the other half loses nothing."""

import collections
import http.client
import json
import threading
import time

import pytest

from backends import BenchBackend
from clients import Ledger, nothing_lost
from sluice import PATIENCE, wait_for
from world import World, clear_of_edge

pytestmark = pytest.mark.slow

CONNECTIONS = 2000
HALF = CONNECTIONS // 2
INTERVAL_MS = 1000
ISSUERS = 10  # at the same time: their commits share the disk's turns


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    backend = BenchBackend(folder)
    world = World(folder, workers=2)
    world.bench = backend
    yield world
    world.stop()
    backend.stop()


@pytest.fixture
def started_ledger(started, gateway, tmp_path):
    """Starts the ledger on 2,000 connections; those with an even place in each pair are of the first half."""
    def start(urls, tokens):
        ledger = started(Ledger(urls, tokens, CONNECTIONS, interval_ms=INTERVAL_MS, ca=gateway.control.ca,
                                folder=tmp_path))
        opened = ledger.wait_open(90)
        refused = collections.Counter((e.get("status"), e.get("error"), e.get("body", "")[:40])
                                      for e in ledger.closed.values())
        assert opened == CONNECTIONS, refused.most_common(5)
        return ledger
    return start


def issue(world, app, count, validity=3600):
    """So many tokens, by several connections that stay open: [(token, monotonic times around its issue)]."""
    issued = []

    def some(share):
        connection = http.client.HTTPSConnection("127.0.0.1", world.control.door, context=world.control.context)
        for _ in range(share):
            before = time.monotonic()
            connection.request("POST", "/sluice.admin.v1.TokenService/IssueToken", json.dumps(
                {"application": app, "keyType": "PRODUCTION", "validityS": str(validity)}),
                {"Content-Type": "application/json", "Authorization": f"Bearer {world.control.token}"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            assert answer.status == 200, body
            issued.append((body["accessToken"], before, time.monotonic()))
        connection.close()
    threads = [threading.Thread(target=some, args=(count // ISSUERS,)) for _ in range(ISSUERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issued) == count
    return issued


def alternating(first, second):
    return [token for pair in zip(first, second) for token in pair]


def plain_and_tls(world, *apis):
    """URLs such that connection i has API i % 2 and, in pairs, plain or TLS."""
    one, two = apis[0], apis[-1]
    return [world.url(one), world.url(two), world.url(one, listener="wss"), world.url(two, listener="wss")]


def two_applications(world, **plans):
    """An API with two applications, a half of the tokens each: (API, applications, tokens in turn)."""
    api = world.api(world.bench.url, plans=sorted({"Unlimited", *plans.values()}))
    apps = [world.app(api, plan=plans.get("first", "Unlimited")), world.app(api)]
    world.settle()
    tokens = alternating(*[[t for t, _, _ in issue(world, app, HALF)] for app in apps])
    return api, apps, tokens


def check(ledger, began, code, reason, seconds=1.0):
    """That the even ones were closed within the time and the odd ones lost nothing."""
    wait_for(lambda: len(ledger.closed) >= HALF, lambda: f"{HALF} closes, there are {len(ledger.closed)}", 15)
    rounds_end = time.monotonic() + 2 * INTERVAL_MS / 1000
    wait_for(lambda: time.monotonic() > rounds_end, "two more rounds of messages")
    report = ledger.finish()
    assert len(report["ledgers"]) == CONNECTIONS
    slowest = 0
    for line in report["ledgers"]:
        if line["id"] % 2 == 1:
            assert line["closed_by"] == "self" and nothing_lost(line) and line["sent"] > 1, line
            continue
        assert (line["closed_by"], line["close_code"]) == ("peer", code), line
        assert line["close_reason"].startswith(reason), line
        slowest = max(slowest, line["closed_ms"] / 1000 - began)
    assert 0 < slowest <= seconds * PATIENCE, f"the slowest close took {slowest:.3f} s"


def test_tokens_revoked(gateway, started_ledger):
    api, apps, tokens = two_applications(gateway)
    ledger = started_ledger(plain_and_tls(gateway, api), tokens)
    began = time.monotonic()
    gateway.call("TokenService/RevokeToken", application=apps[0])
    check(ledger, began, 4001, "access token revoked")


def test_tokens_expired(gateway, started_ledger):
    api = gateway.api(gateway.bench.url)
    apps = [gateway.app(api), gateway.app(api)]
    gateway.settle()
    began = time.monotonic()
    lasting = [token for token, _, _ in issue(gateway, apps[1], HALF)]
    # Long enough to issue as many once more and to open all.
    validity = int(2 * (time.monotonic() - began) + 10 * PATIENCE)
    short = issue(gateway, apps[0], HALF, validity)
    ledger = started_ledger(plain_and_tls(gateway, api), alternating([t for t, _, _ in short], lasting))
    assert time.monotonic() < short[0][1] + validity, "too slow to open all before the first expires"
    wait_for(lambda: len(ledger.closed) >= HALF, "the closes", validity + 15)
    report = ledger.finish()
    for line in report["ledgers"]:
        if line["id"] % 2 == 1:
            assert line["closed_by"] == "self" and nothing_lost(line), line
            continue
        assert (line["closed_by"], line["close_code"], line["close_reason"]) == (
            "peer", 4001, "access token expired"), line
        _, before, after = short[line["id"] // 2]
        late = line["closed_ms"] / 1000 - (after + validity)
        early = line["closed_ms"] / 1000 - (before + validity)
        assert early >= -0.05 and late <= 1.0 * PATIENCE, (line, early, late)


def test_a_subscription_blocked(gateway, started_ledger):
    api, apps, tokens = two_applications(gateway)
    ledger = started_ledger(plain_and_tls(gateway, api), tokens)
    began = time.monotonic()
    gateway.subscription_status(apps[0], api, "BLOCKED")
    check(ledger, began, 4001, "subscription blocked")


def test_an_api_blocked(gateway, started_ledger):
    apis = [gateway.api(gateway.bench.url), gateway.api(gateway.bench.url)]
    app = gateway.app(*apis)
    gateway.settle()
    tokens = [token for token, _, _ in issue(gateway, app, CONNECTIONS)]
    ledger = started_ledger(plain_and_tls(gateway, *apis), tokens)
    began = time.monotonic()
    gateway.state(apis[0], "block")
    check(ledger, began, 4006, "API blocked")


def test_a_plan_changed(gateway, started_ledger):
    """The new limit is used up already, so each of the half is closed at its next message."""
    clear_of_edge(3600, 60)
    plan = gateway.plan(0, onLimit="close", onLimitBackend="close")
    api, _, tokens = two_applications(gateway, first=plan)
    ledger = started_ledger(plain_and_tls(gateway, api), tokens)
    began = time.monotonic()
    gateway.call("PlanService/UpdatePlan", plan={"name": plan, "spec": {
        "messages": 1, "per": "3600s", "onLimit": "close", "onLimitBackend": "close"}})
    check(ledger, began, 4003, f"subscription plan {plan} is used up", seconds=1.0 + INTERVAL_MS / 1000)
