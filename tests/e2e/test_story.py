"""The first message, by sluicectl and curl alone; and what each wrong step says to do next."""

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from backends import EchoBackend, unused_port
from clients import HERE, Ctl
from sluice import BIN, PASSWORD, ControlPlane, Program, Proxy, connect, handshake, wait_for

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "samples"
OWN_API = """
kind: Api
name: prices-v2
spec:
  context: /prices
  version: v2
  endpoints:
    production: ["{}"]
  plans: [Gold]
"""


@pytest.fixture
def ctl(control, tmp_path):
    control.token = None
    return Ctl(control, tmp_path)


def log_in(ctl, control):
    return ctl("login", "--ca", control.ca, "--password-stdin", stdin=PASSWORD + "\n")


def token_by_curl(control, key, secret, *arguments):
    """(HTTP status, JSON) of the token endpoint."""
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(control.ca), "-u", f"{key}:{secret}", "-w", "\n%{http_code}",
         "-d", "grant_type=client_credentials", *arguments, f"https://127.0.0.1:{control.door}/oauth2/token"],
        capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body)


class Talk:
    """`sluicectl ws` with its input held open."""

    def __init__(self, ctl, *arguments):
        self.process = ctl.start("ws", *arguments)

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        """(exit status, stderr) once it has ended by itself."""
        error = self.process.stderr.read()
        return self.process.wait(10), error

    def stop(self):
        self.process.kill()
        self.process.communicate()


def test_the_quickstarts_story(control, proxy, backend, ctl, started, tmp_path):
    log_in(ctl, control)
    sample = (SAMPLES / "quickstart.yaml").read_text()
    assert "ws://127.0.0.1:9100/" in sample
    file = tmp_path / "quickstart.yaml"
    file.write_text(sample.replace("ws://127.0.0.1:9100/", backend.url))
    told = ctl("apply", "-f", file, "--wait")
    assert "created" in told and "in force on every connected proxy" in told
    keys = json.loads(ctl("--output", "json", "keys", "generate", "quickstart-app", "--type", "production"))
    status, answer = token_by_curl(control, keys["consumerKey"], keys["consumerSecret"])
    assert status == 200 and answer["token_type"] == "Bearer" and answer["expires_in"] == 3600
    token, url = answer["access_token"], proxy.url("/echowebsocket/v1.0")

    status, out, error = ctl.run("ws", url, "--token", "-", stdin=f"{token}\nHello WebSocket World\n")
    assert (status, out) == (0, "Hello WebSocket World\n"), error
    assert error.startswith("connected to ") and "(connection " in error
    assert backend.messages == ["Hello WebSocket World"]
    # By the default version too.
    assert ctl("ws", proxy.url("/echowebsocket"), "--token", token, stdin="again\n") == "again\n"

    talk = started(Talk(ctl, url, "--token", token))
    assert talk.say("still there?") == "still there?"
    assert "1 revoked" in ctl("token", "revoke", token)
    status, error = talk.end()
    assert "closed: 4001 (credentials are not valid any more): access token revoked" in error
    assert "900904" in ctl.refused("ws", url, "--token", token)
    listed = wait_for(lambda: "echo-v1" in ctl("usage", "echo-v1") and ctl("usage", "echo-v1"), "usage", 15)
    assert "quickstart-app" in listed


def test_ones_own_api_by_hand(control, proxy, backend, ctl, tmp_path):
    log_in(ctl, control)
    file = tmp_path / "own.yaml"
    file.write_text(OWN_API.format(backend.url))
    ctl("apply", "-f", file)
    assert "PUBLISHED" in ctl("api", "publish", "prices-v2")
    ctl("app", "create", "trader")
    assert "on Gold" in ctl("subscribe", "trader", "prices-v2", "--plan", "Gold")
    lines = ctl("keys", "generate", "trader").splitlines()
    key, secret = lines[0].split()[-1], lines[1].split()[-1]
    by_key = ctl("token", "--key", key, "--secret", "-", stdin=secret + "\n").strip()
    by_operator = ctl("token", "trader").strip()
    for token in (by_key, by_operator):
        assert ctl("ws", proxy.url("/prices/v2"), "--token", token, stdin="hello\n") == "hello\n"
    for words in (("get", "api"), ("get", "api", "prices-v2"), ("get", "subscription"), ("proxies", "list"),
                  ("status",), ("export",), ("connections", "list")):
        assert ctl(*words).strip(), words
    assert "prices-v2" in ctl("get", "api") and "proxy-1" in ctl("proxies", "list")
    assert "1 connected" in ctl("status")
    assert "context" in ctl("explain", "Api") and "Required" in ctl("explain", "Api.context")
    assert "is on Gold" in ctl("subscription", "plan", "trader", "prices-v2", "--plan", "Gold")
    ctl("subscription", "block", "trader", "prices-v2")
    wait_for(lambda: handshake(proxy.url("/prices/v2"), by_key)[0] == 403, "it is blocked")
    assert "900907" in ctl.refused("ws", proxy.url("/prices/v2"), "--token", by_key)
    ctl("subscription", "unblock", "trader", "prices-v2")
    wait_for(lambda: handshake(proxy.url("/prices/v2"), by_key)[0] == 101, "it is not")
    # What export writes can be applied again and changes nothing.
    ctl("export", "-o", tmp_path / "all")
    again = ctl("apply", "-f", tmp_path / "all", "--dry-run")
    assert "created" not in again and "updated" not in again, again


def test_wscat_talks_to_it(stack):
    with subprocess.Popen(
            ["node", str(HERE / "node_modules" / ".bin" / "wscat"), "-c", stack.url, "-H",
             f"Authorization: Bearer {stack.token}", "-x", "hello from wscat", "-w", "1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # it ends with its input
        assert process.wait(30) == 0
        assert "hello from wscat" in process.stdout.read()
    assert stack.backend.messages == ["hello from wscat"]


@pytest.mark.parametrize("sample", ["client.mjs", "client.py"])
def test_the_sample_clients_talk_to_it(stack, sample):
    text = (SAMPLES / sample).read_text().replace("SLUICE_URL", stack.url).replace("SLUICE_TOKEN", stack.token)
    # Beside node_modules, where the sample finds the package `ws`.
    file = HERE / "node_modules" / f"sample-{os.getpid()}-{sample}"
    file.write_text(text)
    try:
        program = "node" if sample.endswith("mjs") else "/usr/bin/python3"
        done = subprocess.run([program, str(file)], capture_output=True, text=True, timeout=30)
    finally:
        file.unlink()
    assert "Hello from" in done.stdout, done.stderr


def test_sandbox_keys_by_sluicectl(control, proxy, started, ctl, tmp_path):
    sandbox = started(EchoBackend())
    log_in(ctl, control)
    file = tmp_path / "api.yaml"
    file.write_text(OWN_API.format("ws://127.0.0.1:1/") + "  state: PUBLISHED\n")
    text = file.read_text().replace("    production:", f'    sandbox: ["{sandbox.url}"]\n    production:')
    file.write_text(text)
    ctl("apply", "-f", file)
    ctl("app", "create", "tester")
    ctl("subscribe", "tester", "prices-v2", "--plan", "Gold")
    assert "make them first" in ctl.refused("token", "tester", "--type", "sandbox")
    ctl("keys", "generate", "tester", "--type", "sandbox")
    token = ctl("token", "tester", "--type", "sandbox").strip()
    assert ctl("ws", proxy.url("/prices/v2"), "--token", token, stdin="hi\n") == "hi\n"


# ---- wrong steps

def test_not_logged_in(ctl, control):
    error = ctl.refused("get", "api")
    assert "sluicectl login" in error
    # Without a terminal nobody can be asked about the fingerprint, which is shown.
    error = ctl.refused("login", "--password-stdin", stdin=PASSWORD + "\n")
    assert "fingerprint" in error and "--ca" in error
    error = ctl.refused("login", "--ca", control.ca, "--password-stdin", stdin="wrong password\n")
    assert "password is wrong" in error and "DATA/admin-password" in error
    assert "reset-admin-password" in error and "sluicectl login" not in error
    log_in(ctl, control)
    ctl("logout")
    assert "sluicectl login" in ctl.refused("api", "publish", "x")
    log_in(ctl, control)
    control.stop()
    for command in (("get", "api"), ("login", "--password-stdin")):
        error = ctl.refused(*command, stdin=PASSWORD)
        assert ctl.env["SLUICE_SERVER"] in error and "is sluice-control running there?" in error, error
        assert "--server" in error and "while receiving" not in error


@pytest.fixture
def unpublished(control, proxy, backend, ctl, tmp_path):
    """Logged in, with the API still CREATED, an application and its token."""
    log_in(ctl, control)
    file = tmp_path / "own.yaml"
    file.write_text(OWN_API.format(backend.url))
    ctl("apply", "-f", file)
    ctl("app", "create", "trader")
    ctl("keys", "generate", "trader")
    return proxy.url("/prices/v2"), ctl("token", "trader").strip()


def test_each_wrong_step_says_what_to_do(control, proxy, backend, ctl, unpublished):
    url, token = unpublished
    error = ctl.refused("ws", url, "--token", token)
    assert "refused: 404" in error and "404001" in error and "published" in error
    assert "sluicectl api publish prices-v2" in ctl.refused("subscribe", "trader", "prices-v2", "--plan", "Gold")
    assert "sluicectl app create nobody" in ctl.refused("keys", "generate", "nobody")
    assert "sluicectl keys generate trader --type sandbox" in ctl.refused("token", "trader", "--type", "sandbox")
    assert "production" in ctl.refused("token", "trader", "--type", "foo", status=2)
    wrong = ctl.refused("token", "--key", "none", "--secret", "-", stdin="x")
    assert "invalid_client" in wrong and "sluicectl keys generate" in wrong
    port = unused_port()
    error = ctl.refused("ws", f"ws://127.0.0.1:{port}/prices/v2", "--token", token)
    assert f"cannot connect to 127.0.0.1:{port}" in error and "is sluice-proxy running" in error
    assert "while receiving" not in error
    ctl("api", "publish", "prices-v2")
    wait_for(lambda: "900908" in ctl.run("ws", url, "--token", token)[2], "it is published")
    assert "Subscribe it first" in ctl.refused("ws", url, "--token", token)
    assert "it offers Gold" in ctl.refused("subscribe", "trader", "prices-v2", "--plan", "Silver")
    assert "there is no Api" in ctl.refused("subscribe", "trader", "prizes", "--plan", "Gold")
    ctl("subscribe", "trader", "prices-v2", "--plan", "Gold")
    wait_for(lambda: ctl.run("ws", url, "--token", token, stdin="x\n")[0] == 0, "it is subscribed")
    again = ctl.refused("subscribe", "trader", "prices-v2", "--plan", "Gold")
    assert "exists already" in again and "sluicectl subscription plan trader prices-v2" in again
    error = ctl.refused("ws", url)
    assert "900902" in error and "Authorization: Bearer" in error
    error = ctl.refused("ws", url, "--token", token[:-1])
    assert "900901" in error and "copied whole" in error
    backend.stop()
    error = ctl.refused("ws", url, "--token", token)
    assert "refused: 503" in error and "101503" in error and "backend cannot be reached" in error
    # The client is told no address; the operator, whom the answer's id leads to it, is.
    assert str(backend.port) not in error
    shown = re.search(r"`sluicectl (connections list --refused --id \S+)`", error).group(1).split()
    wait_for(lambda: f"cannot connect to 127.0.0.1:{backend.port}: Connection refused" in ctl(*shown),
             lambda: ctl(*shown), 20)
    error = ctl.refused("ws", proxy.url("/prices"), "--token", token)
    assert "check context and version" in error


def test_wrong_words_on_the_command_line_are_told(ctl, control):
    log_in(ctl, control)
    assert "does not exist" in ctl.refused("api", "publish", "nothing")
    assert ctl.refused("nonsense", status=2)
    assert ctl.refused("subscribe", "a", "b", status=2)
    error = ctl.refused("apply", "-f", "/no/such/file.yaml")
    assert "/no/such/file.yaml" in error


def test_a_file_with_faults_names_file_line_and_field(ctl, control, tmp_path):
    log_in(ctl, control)
    file = tmp_path / "bad.yaml"
    file.write_text(OWN_API.format("ftp://127.0.0.1/").replace("plans: [Gold]", "plans: [Golden]\n  colour: red"))
    error = ctl.refused("apply", "-f", file)
    assert "bad.yaml:" in error and "colour" in error
    file.write_text(OWN_API.format("ftp://127.0.0.1/").replace("plans: [Gold]", "plans: [Golden]"))
    error = ctl.refused("apply", "-f", file)
    assert "bad.yaml:" in error and "endpoints.production[0]" in error and "plans[0]" in error


def test_a_token_endpoint_answers_as_oauth_asks(control, ctl):
    log_in(ctl, control)
    ctl("app", "create", "client")
    keys = json.loads(ctl("--output", "json", "keys", "generate", "client"))
    key, secret = keys["consumerKey"], keys["consumerSecret"]
    assert token_by_curl(control, key, "wrong") == (401, {
        "error": "invalid_client", "error_description": "Client credentials are invalid."})
    status, body = token_by_curl(control, key, secret, "-d", "validity_period=60", "-d", "scope=a b")
    assert status == 200 and body["expires_in"] == 60 and body["scope"] == "a b"
    status, _, _ = control.request("POST", "/oauth2/token", "grant_type=password", {
        "Content-Type": "application/x-www-form-urlencoded"})
    assert status == 401
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(control.ca), "-u", f"{key}:{secret}", "-o", "/dev/null", "-w", "%{http_code}",
         "-d", f"token={body['access_token']}", f"https://127.0.0.1:{control.door}/oauth2/revoke"],
        capture_output=True, text=True, timeout=20)
    assert done.stdout == "200"


def test_revoked_by_the_client_closes_too(stack, run):
    keys = stack.control.keys("app")
    status, answer = token_by_curl(stack.control, keys["consumerKey"], keys["consumerSecret"])
    assert status == 200

    async def talk():
        async with connect(stack.url, answer["access_token"]) as connection:
            await connection.send("x")
            await connection.recv()
            subprocess.run(
                ["curl", "-sS", "--cacert", str(stack.control.ca), "-u",
                 f"{keys['consumerKey']}:{keys['consumerSecret']}", "-d", f"token={answer['access_token']}",
                 f"https://127.0.0.1:{stack.control.door}/oauth2/revoke"], check=True, timeout=20)
            await connection.wait_closed()
            return connection.close_code
    assert run(talk()) == 4001


def test_a_proxy_that_has_not_joined_says_what_to_do(control, ctl, tmp_path, started):
    log_in(ctl, control)
    assert "0 connected" in ctl("status")
    file = tmp_path / "own.yaml"
    file.write_text(OWN_API.format("ws://127.0.0.1:9/"))
    told = ctl("apply", "-f", file, "--wait")
    assert "no proxy is connected" in told and "sluicectl join-token create" in told
    alone = started(Proxy(tmp_path, control, join=False))
    alone.said("join-token")
    token = ctl("join-token", "create").strip()
    joined = started(Proxy(tmp_path, control, node="second", name="second", join=token)).ready()
    wait_for(lambda: "1 connected" in ctl("status"), "it has joined")
    assert joined.alive()
    # Once used, a token is used up.
    third = started(Proxy(tmp_path, control, node="third", name="third", join=token))
    third.said("join token")
    garbage = started(Proxy(tmp_path, control, node="fourth", name="fourth", join="garbage"))
    garbage.said("join token")
    # The other port, and no port at all.
    for number, port in enumerate((control.door, unused_port())):
        name = f"lost-{number}"
        lost = started(Proxy(tmp_path, SimpleNamespace(grpc=port), node=name, name=name,
                             join=ctl("join-token", "create").strip()))
        lost.said("is that its gRPC port")


def test_a_password_from_the_first_start_works_and_a_made_one_is_shown_where_it_is(tmp_path, started):
    data = tmp_path / "own"
    process = started(Program(
        "plain", [BIN / "sluice-control", "--data-dir", data, "--http", "127.0.0.1:0", "--grpc",
                  "127.0.0.1:0"], tmp_path, env={"SLUICE_ADMIN_PASSWORD": ""}))
    process.port("grpc")
    file = data / "admin-password"
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in process.log() and file.read_text().strip() not in process.log()
    assert data.stat().st_mode & 0o777 == 0o700


def test_a_control_plane_started_twice_and_on_a_taken_port_say_so(control, tmp_path):
    second = Program("taken", [BIN / "sluice-control", "--data-dir", tmp_path / "another", "--http",
                                      f"127.0.0.1:{control.door}", "--grpc", "127.0.0.1:0"], tmp_path)
    wait_for(lambda: not second.alive(), "it ends")
    second.stop()
    assert second.process.returncode != 0 and str(control.door) in second.log()


def test_a_session_survives_a_restart(tmp_path, started):
    control = started(ControlPlane(tmp_path))
    ctl = Ctl(control, tmp_path)
    log_in(ctl, control)
    ports = (control.door, control.grpc)
    assert control.terminate() == 0
    started(ControlPlane(tmp_path, ports=ports))
    assert "default" in ctl("get", "gatewaygroup")


def test_its_own_ports_are_nobodys_back_end(control, ctl, tmp_path):
    log_in(ctl, control)
    for port in (control.door, control.grpc):  # taken as 0
        (tmp_path / "own.yaml").write_text(OWN_API.format(f"wss://127.0.0.1:{port}/"))
        assert "endpoints.production[0]" in ctl.refused("apply", "-f", tmp_path / "own.yaml")
