"""A foreign gRPC client, Node's @grpc/grpc-js, that has no .proto of ours: reflection, health, and a push of an API."""

import base64
import json
import subprocess

import pytest

from clients import HERE
from sluice import PASSWORD, CallError, bearer, handshake

UNAUTHENTICATED, NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT = 16, 5, 6, 3


def grpc(world, *steps, token=None, **options):
    """Answers of the steps; see node/grpc.mjs."""
    told = {"address": f"127.0.0.1:{world.control.grpc}", "ca": str(world.control.ca), "steps": list(steps),
            "token": world.control.token if token is None else token, **options}
    done = subprocess.run(["node", str(HERE / "node" / "grpc.mjs"), json.dumps(told)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_reflection_lists_every_service_and_health_says_serving(world):
    listed, health, of_one, of_none = grpc(
        world, {"list": True}, {"health": ""}, {"health": "sluice.admin.v1.ApiService"}, {"health": "nothing"})
    names = set(listed["ok"])
    kinds = ("Api", "Application", "Credential", "GatewayGroup", "Listener", "Plan", "Secret", "Subscription",
             "Upstream", "User")
    for kind in (*kinds, "Auth", "Proxy", "Resource", "Rollout", "Status", "Token", "Usage"):
        assert f"sluice.admin.v1.{kind}Service" in names
    assert "grpc.health.v1.Health" in names
    assert "ok" in health, health
    assert health["ok"]["status"] == "SERVING" and of_one["ok"]["status"] == "SERVING"
    assert of_none["error"]["code"] == NOT_FOUND


def test_it_pushes_an_api_and_the_proxy_serves_it(world):
    spec = {"context": "/by-grpc", "version": "v1.0", "endpoints": {"production": [world.backend.url]},
            "plans": ["Gold"], "limits": {"ping_interval": {"seconds": "20"}}}
    created, published, again, bad, got = grpc(
        world,
        {"call": "sluice.admin.v1.ApiService/CreateApi", "request": {"api": {"name": "by-grpc", "spec": spec}}},
        {"call": "sluice.admin.v1.ApiService/ChangeApiState", "request": {"name": "by-grpc", "action": "publish"}},
        {"call": "sluice.admin.v1.ApiService/CreateApi", "request": {"api": {"name": "by-grpc", "spec": spec}}},
        {"call": "sluice.admin.v1.ApiService/CreateApi", "request": {
            "api": {"name": "bad", "spec": {**spec, "context": "/other", "plans": ["Nope"]}}}},
        {"call": "sluice.admin.v1.ApiService/GetApi", "request": {"name": "by-grpc"}})
    assert created["ok"]["api"]["spec"]["state"] == "CREATED", created
    assert published["ok"]["api"]["spec"]["state"] == "PUBLISHED"
    assert again["error"]["code"] == ALREADY_EXISTS
    assert bad["error"]["code"] == INVALID_ARGUMENT and "spec.plans[0]" in bad["error"]["message"]
    assert got["ok"]["spec"]["limits"]["ping_interval"]["seconds"] == "20"
    app = world.app()
    world.subscribe(app, "by-grpc", "Gold")
    token = world.token(app)
    revision = str(max(world.revision, int(published["ok"]["revision"])))
    waited, = grpc(world, {"call": "sluice.admin.v1.RolloutService/Wait", "request": {
        "revision": revision, "group": "default", "timeout_ms": 8000}})
    assert waited["ok"]["complete"] is True
    assert waited["ok"]["proxies"][0]["state"] == "IN_FORCE"
    assert handshake(world.proxy.url("/by-grpc/v1.0"), token)[0] == 101
    metrics = world.control.request("GET", "/metrics", headers=bearer(world.control.token))[2].decode()
    for sample in ('sluice_grpc_requests_total{method="ApiService/CreateApi",status="INVALID_ARGUMENT"} 1',
                   'sluice_grpc_requests_total{method="ApiService/GetApi",status="OK"} 1',
                   'sluice_grpc_request_seconds_count{method="ApiService/CreateApi"} 3'):
        assert sample in metrics, metrics
    # Both doors show the same.
    door = world.control.call("ApiService/GetApi", {"name": "by-grpc"})
    assert int(door["meta"]["revision"]) == int(got["ok"]["meta"]["revision"])


@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_a_session_nothing_is_shown(world, token):
    listed, proxies = grpc(world, {"call": "sluice.admin.v1.ApiService/ListApi"},
                           {"call": "sluice.admin.v1.ProxyService/ListProxies"}, token=token)
    assert listed["error"]["code"] == UNAUTHENTICATED and proxies["error"]["code"] == UNAUTHENTICATED
    with pytest.raises(CallError) as refused:
        world.control.call("ApiService/ListApi", token="wrong")
    assert refused.value.status == 401


def test_login_by_grpc_gives_a_session(world):
    logged, wrong = grpc(
        world, {"call": "sluice.admin.v1.AuthService/Login", "request": {"user": "admin", "password": PASSWORD}},
        {"call": "sluice.admin.v1.AuthService/Login", "request": {"user": "admin", "password": "wrong"}}, token="")
    listed, = grpc(world, {"call": "sluice.admin.v1.PlanService/ListPlan"}, token=logged["ok"]["token"])
    assert {"Gold", "Silver", "Bronze", "Unlimited"} <= {plan["name"] for plan in listed["ok"]["items"]}
    assert wrong["error"]["code"] == UNAUTHENTICATED


def test_the_proxies_services_are_closed_to_users_and_strangers(world):
    """A user's token is no proxy's certificate, and a proxy's certificate reaches no admin service."""
    joined = world.proxy.data / "tls"
    certificate = {"cert": str(joined / "proxy.pem"), "key": str(joined / "proxy-key.pem")}
    asked, = grpc(world, {"call": "sluice.admin.v1.JoinService/Renew", "request": {"csr_pem": "x"}})
    assert asked["error"]["code"] in (7, UNAUTHENTICATED)
    shown, = grpc(world, {"call": "sluice.admin.v1.ApiService/ListApi"}, token="", **certificate)
    assert shown["error"]["code"] in (7, UNAUTHENTICATED)
    join, = grpc(world, {"call": "sluice.admin.v1.JoinService/Join", "request": {
        "join_token": "garbage", "node_id": "x", "csr_pem": "x"}}, token="")
    assert join["error"]["code"] in (INVALID_ARGUMENT, 7, UNAUTHENTICATED)


def test_plain_text_reaches_nothing_on_the_grpc_port(world):
    answer, = grpc(world, {"list": True}, plain=True)
    assert answer["error"]["code"] in (4, 14)


# ---- discovery, as any xDS client may speak it

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
TYPE = "type.googleapis.com/sluice.config.v1."


def joined(world, folder, node):
    """Joins by the one RPC for it; gives what grpc() needs to show the certificate."""
    key, request = folder / f"{node}.key", folder / f"{node}.csr"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", f"/CN={node}", "-keyout", key, "-out", request], check=True, capture_output=True)
    answer, = grpc(world, {"call": "sluice.admin.v1.JoinService/Join", "request": {
        "join_token": world.control.join_token(), "node_id": node, "csr_pem": request.read_text()}}, token="")
    certificate = folder / f"{node}.pem"
    certificate.write_text(answer["ok"]["certificate_pem"])
    return {"cert": str(certificate), "key": str(key), "token": ""}


def names(answer):
    return {resource["name"] for resource in answer["resources"]}


def test_a_foreign_client_gets_its_configuration_as_deltas(world, tmp_path):
    api = world.api(settle=True)
    own = joined(world, tmp_path, "foreign-delta")
    node = {"id": "foreign-delta", "cluster": "default"}
    plans, apis = grpc(
        world,
        {"stream": f"{ADS}/DeltaAggregatedResources", "requests": [
            {"node": node, "type_url": TYPE + "Plan", "resource_names_subscribe": ["*"]}]},
        {"stream": f"{ADS}/DeltaAggregatedResources", "requests": [
            {"node": node, "type_url": TYPE + "Api", "resource_names_subscribe": [api, "no-such-api"]}]}, **own)
    assert {"Gold", "Silver", "Unlimited"} <= names(plans["ok"][0])
    assert all(r["version"] and r["resource"]["type_url"] == TYPE + "Plan" for r in plans["ok"][0]["resources"])
    assert names(apis["ok"][0]) == {api} and apis["ok"][0]["removed_resources"] == ["no-such-api"]


def test_a_foreign_client_gets_the_state_of_the_world(world, tmp_path):
    api = world.api(settle=True)
    own = joined(world, tmp_path, "foreign-sotw")
    node = {"id": "foreign-sotw", "cluster": "default"}
    asked, = grpc(world, {"stream": f"{ADS}/StreamAggregatedResources", "requests": [
        {"node": node, "type_url": TYPE + "Api"},
        {"type_url": TYPE + "Plan"}]}, **own)
    first, second = asked["ok"]
    assert first["type_url"] == TYPE + "Api" and first["nonce"] and first["version_info"]
    assert second["type_url"] == TYPE + "Plan" and len(second["resources"]) > 5
    assert api in str([bytes_of(resource) for resource in first["resources"]])


def bytes_of(resource):
    return base64.b64decode(resource["value"])


def test_discovery_needs_a_certificate_of_a_proxy_and_shows_only_its_own_name(world, tmp_path):
    request = {"node": {"id": "proxy-1", "cluster": "default"}, "type_url": TYPE + "Secret",
               "resource_names_subscribe": ["*"]}
    stream = {"stream": f"{ADS}/DeltaAggregatedResources", "requests": [request]}
    with_a_session, = grpc(world, stream)
    with_nothing, = grpc(world, stream, token="")
    assert with_a_session["error"]["code"] in (7, UNAUTHENTICATED)
    assert with_nothing["error"]["code"] in (7, UNAUTHENTICATED)
    # The certificate says who it is, whatever the message says: no proxy can be pushed off its place.
    grpc(world, stream, **joined(world, tmp_path, "impostor"))
    proxies = world.control.call("ProxyService/ListProxies")["proxies"]
    assert [p for p in proxies if p["nodeId"] == "proxy-1"][0]["connected"] is True
