"""Changes of configuration: those that do not concern a live connection leave it alone; those that cannot compile
change nothing and name the field."""

import json

import pytest

from backends import BenchBackend
from clients import Ledger, make_certificate, nothing_lost
from sluice import CallError, connect, handshake


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return [dict(zip(("certificatePem", "privateKeyPem"), make_certificate(folder, name))) for name in ("a", "b")]


def cycle(world, n, certificates):
    """Creates, edits and deletes one of every kind; gives (method, request) in order."""
    def named(kind, name, **spec):
        return {kind: {"name": name, "spec": spec}}
    group, secret, upstream, plan, api = (f"{kind}-{n}" for kind in ("group", "secret", "upstream", "plan", "own"))
    app, listener, user = f"owner-{n}", f"listener-{n}", f"user-{n}"
    endpoints = {"production": [f"upstream:{upstream}"]}
    own = {"context": f"/own-{n}", "version": "v1", "endpoints": endpoints, "plans": [plan, "Gold"]}
    subscription = {"application": app, "api": api}
    yield "GatewayGroupService/CreateGatewayGroup", named("gatewayGroup", group, displayName="one")
    yield "SecretService/CreateSecret", named("secret", secret, **certificates[0])
    yield "UpstreamService/CreateUpstream", named("upstream", upstream, endpoints=["ws://127.0.0.1:9/"])
    yield "PlanService/CreatePlan", named("plan", plan, messages=10)
    yield "ApiService/CreateApi", named("api", api, **own)
    yield "ApiService/ChangeApiState", {"name": api, "action": "publish"}
    yield "ApplicationService/CreateApplication", named("application", app, plan="50PerMin")
    yield "SubscriptionService/CreateSubscription", named("subscription", f"{app}:{api}", plan=plan, **subscription)
    yield "CredentialService/GenerateKeys", {"application": app, "keyType": "PRODUCTION"}
    yield "ListenerService/CreateListener", named("listener", listener, address="127.0.0.1", tls={"secret": secret})
    yield "UserService/CreateUser", named("user", user, password="a long enough password")
    yield "GatewayGroupService/UpdateGatewayGroup", named("gatewayGroup", group, displayName="two")
    yield "SecretService/UpdateSecret", named("secret", secret, **certificates[1])
    yield "UpstreamService/UpdateUpstream", named("upstream", upstream, endpoints=["ws://127.0.0.1:10/"])
    yield "PlanService/UpdatePlan", named("plan", plan, messages=20, onLimit="delay")
    yield "ApiService/UpdateApi", named("api", api, **own, allowedOrigins=["https://example.com"])
    yield "ApplicationService/UpdateApplication", named("application", app, plan="20PerMin")
    yield "SubscriptionService/UpdateSubscription", named("subscription", f"{app}:{api}", plan="Gold", **subscription)
    yield "SubscriptionService/ChangeSubscriptionStatus", {"name": f"{app}:{api}", "status": "BLOCKED"}
    yield "ApplicationService/ChangeApplicationStatus", {"name": app, "status": "ON_HOLD"}
    yield "ListenerService/UpdateListener", named("listener", listener, address="127.0.0.1", tls={"secret": secret},
                                                  trustedHops=["10.0.0.0/8"])
    yield "UserService/UpdateUser", named("user", user, displayName="Some One")
    yield "ApiService/ChangeApiState", {"name": api, "action": "block"}
    yield "CredentialService/DeleteCredential", {"name": f"{app}:PRODUCTION"}
    yield "SubscriptionService/DeleteSubscription", {"name": f"{app}:{api}"}
    yield "ApplicationService/DeleteApplication", {"name": app}
    yield "ApiService/DeleteApi", {"name": api}
    yield "PlanService/DeletePlan", {"name": plan}
    yield "UpstreamService/DeleteUpstream", {"name": upstream}
    yield "ListenerService/DeleteListener", {"name": listener}
    yield "SecretService/DeleteSecret", {"name": secret}
    yield "UserService/DeleteUser", {"name": user}
    yield "GatewayGroupService/DeleteGatewayGroup", {"name": group}


@pytest.mark.slow
def test_500_changes_that_do_not_concern_a_connection_leave_it_alone(world, started, certificates, tmp_path):
    backend = started(BenchBackend(tmp_path))
    api = world.api(backend.url)
    app = world.app(api)
    tokens = [world.token(app) for _ in range(4)]
    world.settle()
    ledger = started(Ledger([world.url(api), world.url(api, listener="wss")], tokens, 8, interval_ms=20,
                            ca=world.control.ca, folder=tmp_path))
    assert ledger.wait_open() == 8
    rechecked = world.proxy.metric("sluice_websockets_rechecked_total")
    done, services = 0, set()
    while done < 500:
        for method, request in cycle(world, done, certificates):
            revision = int(world.control.call(method, request)["revision"])
            status = world.control.wait_rollout(revision)
            assert [p["state"] for p in status["proxies"]] == ["IN_FORCE"], status
            done += 1
            services.add(method.split("/")[0])
    assert len(services) == 10
    assert not ledger.closed
    report = ledger.finish()
    assert nothing_lost(report) and report["closed_by_peer"] == 0
    assert all(line["sent"] > 50 for line in report["ledgers"])
    assert world.proxy.metric("sluice_websockets_rechecked_total") == rechecked


def api_spec(world, **spec):
    return {"context": "/bad", "version": "v1", "endpoints": {"production": [world.backend.url]}, "plans": ["Gold"],
            **spec}


def bad_changes(world, api):
    def api_call(**spec):
        return "ApiService/CreateApi", {"api": {"name": "bad", "spec": api_spec(world, **spec)}}

    def listener(**spec):
        return "ListenerService/CreateListener", {"listener": {"name": "bad", "spec": spec}}
    own = world.control.call("ApiService/GetApi", {"name": api})["spec"]
    return {
        "scheme of an endpoint": (api_call(endpoints={"production": ["ftp://x/"]}), "spec.endpoints.production[0]"),
        "missing upstream": (api_call(endpoints={"sandbox": ["upstream:none"]}), "spec.endpoints.sandbox[0]"),
        "metadata address": (api_call(endpoints={"production": ["ws://169.254.169.254/"]}),
                             "spec.endpoints.production[0]"),
        "a proxy's admin port": (api_call(endpoints={"production": ["ws://127.0.0.1:9901/"]}),
                                 "spec.endpoints.production[0]"),
        "missing plan": (api_call(plans=["Nope"]), "spec.plans[0]"),
        "missing API plan": (api_call(apiPlan="Nope"), "spec.api_plan"),
        "context": (api_call(context="no-slash"), "spec.context"),
        "context and version taken": (api_call(context=own["context"], version=own["version"]), "spec.context"),
        "place of credentials": (api_call(credentialPlaces=["cookie"]), "spec.credential_places[0]"),
        "origin": (api_call(allowedOrigins=["example.com"]), "spec.allowed_origins[0]"),
        "refuse_by": (api_call(refuseBy="shouting"), "spec.refuse_by"),
        "close codes": (api_call(closeCodes="mine"), "spec.close_codes"),
        "ping interval": (api_call(limits={"pingInterval": "0.001s"}), "spec.limits.ping_interval"),
        "a WebSocket endpoint of an HTTP API": (api_call(type="HTTP"), "spec.endpoints.production[0]"),
        "filter": (api_call(filters=[{"name": "passthrough", "config": {"remove_headers": ["Host"]}}]),
                   "spec.filters[0]"),
        "live API, plan": (("ApiService/UpdateApi", {"api": {"name": api, "spec": {**own, "plans": ["Nope"]}}}),
                           "spec.plans[0]"),
        "live API, context": (("ApiService/UpdateApi", {"api": {"name": api, "spec": {**own, "context": "/other"}}}),
                              "spec.context"),
        "address": (listener(address="localhost"), "spec.address"),
        "plain text beyond loopback": (listener(address="0.0.0.0"), "spec.plaintext"),
        "missing secret": (listener(address="127.0.0.1", tls={"secret": "none"}), "spec.tls.secret"),
        "trusted hops": (listener(address="127.0.0.1", trustedHops=["10.0.0.1/8"]), "spec.trusted_hops[0]"),
        "no endpoints": (("UpstreamService/CreateUpstream", {"upstream": {"name": "bad", "spec": {}}}),
                         "spec.endpoints"),
        "action": (("PlanService/CreatePlan", {"plan": {"name": "bad", "spec": {"messages": 1, "onLimit": "x"}}}),
                   "spec.on_limit"),
        "certificate": (("SecretService/CreateSecret", {"secret": {"name": "bad", "spec": {
            "certificatePem": "x", "privateKeyPem": "y"}}}), "spec"),
        "name": (("PlanService/CreatePlan", {"plan": {"name": "no name", "spec": {"messages": 1}}}), "name"),
        "plan not offered": (("SubscriptionService/CreateSubscription", {"subscription": {"spec": {
            "application": "spare", "api": api, "plan": "Bronze"}}}), "spec.plan"),
        "application's plan": (("ApplicationService/CreateApplication", {"application": {
            "name": "bad", "spec": {"plan": "Gold"}}}), "spec.plan"),
    }


@pytest.mark.slow
def test_a_change_that_cannot_compile_changes_nothing_and_names_the_field(world, run):
    api, _, token, url = world.guest()
    world.call("ApplicationService/CreateApplication", application={"name": "spare", "spec": {}})

    async def talk():
        async with connect(url, token) as live:
            for name, ((method, request), field) in bad_changes(world, api).items():
                before = revision(world)
                try:
                    world.control.call(method, request)
                    raise AssertionError(f"{name}: was taken")
                except CallError as error:
                    assert error.code in ("invalid_argument", "failed_precondition"), (name, error)
                    assert f": {field}" in error.message, (name, error.message)
                assert revision(world) == before, name
                await live.send(name)
                assert await live.recv() == name
    run(talk())
    names = [a["name"] for a in json.loads(world.proxy.get("/apis")[1])]
    assert api in names and "bad" not in names


def revision(world):
    return int(world.control.call("StatusService/GetStatus")["revision"])


def manifest(kind, name, source=None, **spec):
    return {"kind": kind, "name": name, "spec": spec, "source": source or f"file.yaml:{name}"}


def test_apply_of_many_is_all_or_nothing_and_names_every_fault(world):
    before = revision(world)
    good = manifest("Plan", "apply-plan", messages=5)
    bad = [manifest("Api", "apply-one", context="/apply-one", version="v1", plans=["None"]),
           manifest("Upstream", "apply-two", endpoints=["ftp://x/"])]
    try:
        world.control.apply(good, *bad)
        raise AssertionError("was taken")
    except CallError as error:
        assert error.code == "invalid_argument"
        assert "spec.plans[0]" in error.message and "spec.endpoints[0]" in error.message
        assert "apply-one" in error.message and "apply-two" in error.message
    assert revision(world) == before
    try:
        world.control.call("PlanService/GetPlan", {"name": "apply-plan"})
        raise AssertionError("half of it was applied")
    except CallError as error:
        assert error.code == "not_found"


def test_apply_of_many_that_need_each_other_works_in_any_order(world):
    token = None
    names = {"api": "many-api", "app": "many-app"}
    manifests = [
        manifest("Subscription", "many-app:many-api", plan="many-plan"),
        manifest("Application", names["app"]),
        manifest("Api", names["api"], context="/many", version="v1.0", plans=["many-plan"], state="PUBLISHED",
                 endpoints={"production": ["upstream:many-up"]}),
        manifest("Upstream", "many-up", endpoints=[world.backend.url]),
        manifest("Plan", "many-plan", messages=100, per="1h"),
    ]
    dry = world.control.apply(*manifests, dryRun=True)
    assert {c["action"] for c in dry["changes"]} == {"CREATED"} and len(dry["changes"]) == 5
    answer = world.control.apply(*manifests)
    world.revision = int(answer["revision"])
    world.call("CredentialService/GenerateKeys", application=names["app"], keyType="PRODUCTION")
    token = world.token(names["app"])
    world.settle()
    assert handshake(world.proxy.url("/many/v1.0"), token)[0] == 101
    again = world.control.apply(*manifests)
    assert {c["action"] for c in again["changes"]} == {"UNCHANGED"}
    # `state` left out leaves it; a difference is told by field.
    manifests[2]["spec"].pop("state")
    manifests[4]["spec"]["messages"] = 200
    changed = world.control.apply(*manifests)
    actions = {c["name"]: c["action"] for c in changed["changes"]}
    assert actions["many-plan"] == "UPDATED" and actions[names["api"]] == "UNCHANGED"
    difference = [c for c in changed["changes"] if c["name"] == "many-plan"][0]["differences"]
    assert any("messages" in line and "200" in line for line in difference)


def test_prune_deletes_what_its_owner_no_longer_lists_and_nothing_else(world):
    labelled = [{**manifest("Plan", name, messages=1), "labels": {"owner": "team"}} for name in ("keep", "go")]
    world.control.apply(*labelled)
    answer = world.control.apply(labelled[0], prune=True, owner="team")
    deleted = [(c["kind"], c["name"]) for c in answer["changes"] if c["action"] == "DELETED"]
    assert deleted == [("Plan", "go")]
    assert world.control.call("PlanService/GetPlan", {"name": "Gold"})


@pytest.mark.parametrize("kind, name", [("Plan", "plan"), ("Api", "api"), ("Application", "app")])
def test_what_is_in_use_is_deleted_only_with_cascade(world, kind, name):
    plan = world.plan(100)
    api, app, token, url = world.guest(plan=plan, plans=[plan, "Gold"])
    target = {"plan": plan, "api": api, "app": app}[name]
    assert handshake(url, token)[0] == 101
    with pytest.raises(CallError) as refused:
        world.call(f"{kind}Service/Delete{kind}", name=target)
    assert refused.value.code == "failed_precondition" and "cascade" in refused.value.message
    assert handshake(url, token)[0] == 101
    world.call(f"{kind}Service/Delete{kind}", name=target, cascade=True)
    world.settle()
    assert handshake(url, token)[0] in (401, 403, 404)


def test_an_edit_of_a_revision_that_is_not_the_newest_is_refused(world):
    name = world.plan(1)
    old = world.control.call("PlanService/GetPlan", {"name": name})
    world.call("PlanService/UpdatePlan", plan={"name": name, "spec": {"messages": 2}})
    with pytest.raises(CallError) as refused:
        world.call("PlanService/UpdatePlan", plan=old)
    assert refused.value.code == "failed_precondition"
    assert world.control.call("PlanService/GetPlan", {"name": name})["spec"]["messages"] == "2"
