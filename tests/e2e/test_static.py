"""`sluice-proxy --static FILE`: a whole gateway without a control plane, and the admin endpoints."""

import asyncio
import hashlib
import json
import re
import signal
import subprocess

import pytest

from sluice import BIN, Program, Proxy, bearer, connect, handshake, http_call, wait_for

TOKEN = "static-token-0123456789"
MORE = """
---
kind: Api
name: second
spec: {{context: /second, version: v1.0, endpoints: {{production: ["{}"]}}, plans: [Gold], state: PUBLISHED}}
---
kind: Subscription
name: app:second
spec: {{application: app, api: second, plan: Gold}}
"""


def resources(endpoint):
    return f"""
kind: Listener
name: ws
spec: {{address: 127.0.0.1, port: 0}}
---
kind: Plan
name: Tiny
spec: {{messages: 4, per: 1h, on_limit: drop, on_limit_backend: drop}}
---
kind: Api
name: echo
spec:
  context: /echo
  version: v1.0
  endpoints: {{production: ["{endpoint}"]}}
  plans: [Gold, Tiny]
  state: PUBLISHED
---
kind: Application
name: app
spec: {{}}
---
kind: Subscription
name: app:echo
spec: {{application: app, api: echo, plan: Gold}}
---
kind: Token
spec:
  sha256: {hashlib.sha256(TOKEN.encode()).hexdigest()}
  application: app
  key_type: PRODUCTION
"""


@pytest.fixture
def file(tmp_path, backend):
    path = tmp_path / "gateway.yaml"
    path.write_text(resources(backend.url))
    return path


@pytest.fixture
def static(started, tmp_path, file):
    return started(Proxy(tmp_path, static=file)).ready()


async def echo(url, text="hello", token=TOKEN):
    async with connect(url, token) as connection:
        await connection.send(text)
        assert await connection.recv() == text


def test_it_serves_a_file_alone(static, run, file):
    run(echo(static.url("/echo/v1.0")))
    status, headers, body = handshake(static.url("/echo/v1.0"), "unknown")
    assert (status, body["code"]) == (401, "900901")
    lines = wait_for(lambda: records(static, 2), "two records")
    assert {line["kind"] for line in lines} == {"record"}
    final = [line for line in lines if line["part"] == "FINAL"][0]
    assert (final["api"], final["application"], final["plan"]) == ("echo", "app", "Gold")
    assert (final["messages_up"], final["messages_down"], final["bytes_up"]) == (1, 1, 5)
    refused = [line for line in lines if line["part"] == "REFUSED"][0]
    assert (refused["status"], refused["code"]) == (401, 900901)
    assert refused["connection_id"] == headers["X-Request-Id"]
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))


def records(proxy, count=0):
    path = proxy.data / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return lines if len(lines) >= count else None


def test_records_go_on_in_number_after_a_restart_and_after_kill(started, tmp_path, static, run, file):
    url = static.url("/echo/v1.0")
    run(echo(url))
    wait_for(lambda: records(static, 1), "a record")

    async def cut_off():
        async with connect(url, TOKEN) as connection:
            for _ in range(3):
                await connection.send("x")
                await connection.recv()
            static.kill()
    run(cut_off())
    again = started(Proxy(tmp_path, static=file)).ready()
    lines = wait_for(lambda: records(again, 2), "the record of the one that was cut off")
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert sum(line["messages_up"] for line in lines) == 4 and sum(line["messages_down"] for line in lines) == 4
    assert lines[-1]["part"] == "RECOVERED"


def test_hup_reads_the_file_again_and_live_connections_stay(static, run, file, backend):
    async def talk():
        async with connect(static.url("/echo/v1.0"), TOKEN) as live:
            file.write_text(file.read_text() + MORE.format(backend.url))
            static.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(wait_for, lambda: handshake(static.url("/second/v1.0"), TOKEN)[0] == 101,
                                    "the second API is served")
            await live.send("still here")
            assert await live.recv() == "still here"
            # And what goes from the file goes from the gateway.
            file.write_text(resources(backend.url).replace("state: PUBLISHED", "state: RETIRED"))
            static.process.send_signal(signal.SIGHUP)
            await asyncio.wait_for(live.wait_closed(), 10)
            assert (live.close_code, live.close_reason) == (1001, "API retired")
    run(talk())
    assert handshake(static.url("/second/v1.0"), TOKEN)[0] == 404
    assert handshake(static.url("/echo/v1.0"), TOKEN)[0] == 404


BAD = {
    "broken YAML": ("kind: Api", "kind: [Api", "gateway.yaml:"),
    "unknown field": ("context: /echo", "contxt: /echo", "contxt"),
    "bad endpoint": ("ws://", "ftp://", "spec.endpoints.production[0]"),
    "no such plan": ("[Gold, Tiny]", "[Gold, Golden]", "spec.plans[1]"),
    "bad hop": ("port: 0}", "port: 0, trusted_hops: [10.0.0.1/8]}", "spec.trusted_hops[0]"),
    "no such application": ("application: app, api: echo", "application: nobody, api: echo", "nobody"),
    "bad action": ("on_limit: drop,", "on_limit: explode,", "spec.on_limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_changes_nothing_and_names_file_and_field(static, run, file, name):
    old, new, named = BAD[name]
    text = file.read_text()
    file.write_text(text.replace(old, new, 1 if name != "bad endpoint" else -1))

    async def talk():
        async with connect(static.url("/echo/v1.0"), TOKEN) as live:
            static.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(static.said, "nothing was changed")
            await live.send("still here")
            assert await live.recv() == "still here"
    run(talk())
    assert named in static.log() and "gateway.yaml:" in static.log()
    run(echo(static.url("/echo/v1.0")))
    # The same file is refused by --validate and at the start, with the same words.
    for arguments in (["--validate"], ["--admin", "127.0.0.1:0"]):
        done = proxy_command(file, *arguments)
        assert done.returncode == 1 and named in done.stderr and "gateway.yaml:" in done.stderr, done.stderr


def proxy_command(file, *arguments):
    return subprocess.run([str(BIN / "sluice-proxy"), "--static", str(file), *arguments], capture_output=True,
                          text=True, timeout=20)


def test_validate_passes_a_good_file_and_every_fault_of_a_bad_one_is_told_at_once(file):
    done = proxy_command(file, "--validate")
    assert done.returncode == 0 and "valid" in done.stdout, done.stderr
    # One that cannot be read, one that does not hold together, two that do not compile.
    file.write_text(file.read_text().replace("ws://", "ftp://").replace("[Gold, Tiny]", "[Gold, Golden]")
                    .replace("port: 0}", "port: many}").replace("api: echo, plan: Gold", "api: echo, plan: Silver"))
    done = proxy_command(file, "--validate")
    assert done.returncode == 1
    for field in ("spec.endpoints.production[0]", "spec.plans[1]", "spec.port", "spec.plan:"):
        assert [line for line in done.stderr.splitlines() if "gateway.yaml:" in line and field in line], (field, done.stderr)


def test_wrong_flags_end_with_2():
    for arguments in (["--nonsense"], [], ["--static", "x", "--control", "127.0.0.1:1"],
                      ["--static", "x", "--drain-time", "soon"], ["--static", "x", "--admin", "nowhere"]):
        done = subprocess.run([str(BIN / "sluice-proxy"), *arguments], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and done.stderr, arguments


def test_limits_hold_and_are_kept_when_the_file_is_read_again(static, run, file, backend):
    file.write_text(file.read_text().replace("api: echo, plan: Gold", "api: echo, plan: Tiny"))
    static.process.send_signal(signal.SIGHUP)
    wait_for(lambda: handshake(static.url("/echo/v1.0"), TOKEN)[0] == 101 and plan_of_newest(static) == "Tiny", "in force")

    async def talk():
        async with connect(static.url("/echo/v1.0"), TOKEN) as connection:
            for number in range(2):
                await connection.send(str(number))
                assert await connection.recv() == str(number)
            file.write_text(file.read_text().replace("messages: 4", "messages: 6"))
            static.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(wait_for, lambda: '"messages":6' in static.get("/config_dump")[1], "it is read")
            await asyncio.to_thread(static.get, "/connections")  # each worker answers after it has taken it over
            # One at a time: a burst could be charged whole before the first echo comes back.
            await connection.send("more 0")
            assert await connection.recv() == "more 0"
            for number in range(1, 5):
                await connection.send(f"more {number}")
            await (await connection.ping())
    run(talk())
    assert backend.messages == ["0", "1", "more 0"]
    assert handshake(static.url("/echo/v1.0"), TOKEN)[2]["code"] == "900804"


def plan_of_newest(proxy):
    opened = [entry for entry in proxy.log_entries() if entry["event"] == "opened"]
    return opened[-1]["plan"] if opened else None


# ---- the admin endpoints

def test_admin_endpoints_answer(static, run):
    run(echo(static.url("/echo/v1.0")))
    for path in ("/config_dump", "/apis", "/upstreams", "/listeners", "/connections", "/certs", "/server_info",
                 "/memory"):
        status, text = static.get(path)
        assert status == 200 and json.loads(text) is not None, path
    assert static.get("/ready")[0] == 200 and static.get("/live")[0] == 200
    assert "echo" in str(json.loads(static.get("/apis")[1]))
    listener = json.loads(static.get("/listeners")[1])[0]
    assert listener["name"] == "ws" and str(static.port("ws")) in str(listener)
    assert static.get("/stats")[0] == 200 and static.get("/nothing")[0] == 404
    info = json.loads(static.get("/server_info")[1])
    assert info["ready"] is True and info["process_id"] == static.process.pid


SAMPLE = re.compile(r'^[a-z_][a-z0-9_]*(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? -?([0-9.e+-]+|\+Inf|NaN)$')


def test_metrics_are_prometheus_text(static, run):
    run(echo(static.url("/echo/v1.0")))
    assert handshake(static.url("/nothing"))[0] == 404
    status, text = static.get("/stats/prometheus")
    assert status == 200
    typed = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed and kind in ("counter", "gauge", "histogram")
            typed[name] = kind
        elif not line.startswith("#"):
            assert SAMPLE.match(line), line
            name = re.match("[a-z0-9_]+", line).group(0)
            base = re.sub("_(bucket|sum|count)$", "", name)
            assert name in typed or typed.get(base) == "histogram", line
            assert name.startswith(("sluice_", "process_"))
    assert all(name.endswith("_total") for name, kind in typed.items() if kind == "counter")
    assert len(typed) > 10
    wait_for(lambda: static.metric("sluice_handshakes_refused_total") == 1, "the refusal is counted")
    assert static.metric("sluice_websockets_opened_total") == 1


def test_posts_need_the_admin_token(static):
    token = (static.data / "admin-token").read_text().strip()
    assert (static.data / "admin-token").stat().st_mode & 0o777 == 0o600
    assert http_call(static.admin, "POST", "/logging?level=debug")[0] == 401
    assert http_call(static.admin, "POST", "/logging?level=debug", bearer("wrong"))[0] == 401
    assert static.post("/logging?level=debug")[0] == 200
    assert json.loads(static.get("/server_info")[1])["log_level"] == "debug"
    assert static.post("/logging?level=loud")[0] == 400
    assert static.post("/ready")[0] == 405 and http_call(static.admin, "GET", "/drain")[0] == 405
    # A page of a foreign site that was made to point here must not read anything.
    assert http_call(static.admin, "GET", "/config_dump", {"Host": "evil.example.com"})[0] == 403
    assert token not in static.get("/config_dump")[1] + static.log()


def test_an_operator_closes_a_connection(static, run):
    async def talk():
        async with connect(static.url("/echo/v1.0"), TOKEN) as live, connect(static.url("/echo/v1.0"), TOKEN) as other:
            await live.send("x")
            await live.recv()
            listed = json.loads((await asyncio.to_thread(static.get, "/connections"))[1])
            identity = live.response_headers["X-Request-Id"]
            mine = [c for c in listed if c["id"] == identity][0]
            assert len(listed) == 2 and (mine["api"], mine["application"], mine["messages_up"]) == ("echo", "app", 1)
            assert (await asyncio.to_thread(static.post, f"/connections/{identity}/close"))[0] == 200
            await asyncio.wait_for(live.wait_closed(), 10)
            assert (live.close_code, live.close_reason) == (4006, "closed by an operator")
            assert (await asyncio.to_thread(static.post, f"/connections/{identity}/close"))[0] == 404
            await other.send("y")
            assert await other.recv() == "y"
    run(talk())


def test_the_probe_port_has_three_paths_for_anyone_and_nothing_else(started, tmp_path, file):
    proxy = started(Proxy(tmp_path, static=file, arguments=["--probe", "127.0.0.1:0"])).ready()
    probe = proxy.port("probe")
    for path in ("/ready", "/live", "/stats/prometheus"):
        assert http_call(probe, "GET", path, {"Host": "anything"})[0] == 200
    for path in ("/config_dump", "/connections", "/stats", "/server_info", "/"):
        assert http_call(probe, "GET", path)[0] == 404
    assert http_call(probe, "POST", "/drain", bearer((proxy.data / "admin-token").read_text().strip()))[0] in (404, 405)


def test_without_a_data_directory_records_go_to_stdout_and_posts_are_refused(started, tmp_path, file, run):
    out = open(tmp_path / "out", "ab")
    proxy = started(Program("bare", [BIN / "sluice-proxy", "--static", file, "--admin", "127.0.0.1:0", "--listen",
                                     "ws=127.0.0.1:0", "--drain-delay", "0s", "--drain-time", "0s"],
                            tmp_path, stdout=out))
    run(echo(f"ws://127.0.0.1:{proxy.port('ws')}/echo/v1.0"))
    lines = wait_for(lambda: both_kinds(tmp_path / "out"), "records and access log")
    assert {"access", "record"} == {line["kind"] for line in lines}
    status, text = http_call(proxy.port("admin"), "POST", "/drain", bearer("x" * 43))
    assert status in (401, 403), text
    assert http_call(proxy.port("admin"), "POST", "/drain")[0] == 403
    assert proxy.alive()


def both_kinds(path):
    text = path.read_text()
    lines = [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]
    return lines if {"access", "record"} <= {line["kind"] for line in lines} else None


def formatted(started, tmp_path, file, text):
    return started(Proxy(tmp_path, static=file, arguments=["--access-log-format", text])).ready()


def test_the_access_log_as_text(started, tmp_path, file, run):
    proxy = formatted(started, tmp_path, file, "text")

    async def talk():
        async with connect(proxy.url("/echo/v1.0/room?a=1"), TOKEN, user_agent_header='my "agent"') as connection:
            await connection.send("12345")
            await connection.recv()
    run(talk())
    assert handshake(proxy.url("/nothing?access_token=s3cret"))[0] == 404
    lines = wait_for(lambda: access_lines(proxy, 3), "opened, closed and refused")
    opened, closed, refused = lines
    assert '"GET /echo/v1.0/room?a=1 HTTP/1.1" opened 101 - 0 0 ' in opened
    # What was asked for is still known at the end.
    assert '"GET /echo/v1.0/room?a=1 HTTP/1.1" closed 101 - 5 5 ' in closed
    assert all('"my \\"agent\\""' in line and line.startswith("[20") for line in (opened, closed))
    assert '"GET /nothing?access_token=redacted HTTP/1.1" refused 404 NR 0 0 ' in refused and "s3cret" not in refused


def access_lines(proxy, count):
    lines = proxy.access_log.read_text().splitlines() if proxy.access_log.exists() else []
    return lines if len(lines) >= count else None


def test_the_access_log_as_json_of_ones_own(started, tmp_path, file, run):
    proxy = formatted(started, tmp_path, file, json.dumps({
        "who": {"app": "%APPLICATION%", "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
        "what": "%REQ(:METHOD)% %ROUTE_NAME%", "code": "%CLOSE_CODE%", "bytes": "%BYTES_SENT%"}))
    run(echo(proxy.url("/echo/v1.0")))
    opened, closed = [json.loads(line) for line in wait_for(lambda: access_lines(proxy, 2), "opened and closed")]
    assert closed == {"who": {"app": "app", "client": "127.0.0.1"}, "what": "GET echo", "code": 1000, "bytes": 5}
    assert opened == {**closed, "code": None, "bytes": 0}


@pytest.mark.parametrize("text, told", [("%NOPE%", "%NOPE%"), ("%REQ(COOKIE)%", "credential"), ("{", "JSON")])
def test_an_access_log_format_that_cannot_be_is_refused(tmp_path, file, text, told):
    done = subprocess.run([BIN / "sluice-proxy", "--static", file, "--validate", "--access-log-format", text],
                          capture_output=True, text=True)
    assert done.returncode == 2 and told in done.stderr and "--access-log-format" in done.stderr


def test_hup_opens_the_access_log_anew(static, run):
    run(echo(static.url("/echo/v1.0")))
    wait_for(lambda: len(static.log_entries()) == 2, "opened and closed")
    rotated = static.access_log.with_suffix(".1")
    static.access_log.rename(rotated)
    static.process.send_signal(signal.SIGHUP)
    wait_for(static.access_log.exists, "a new file")
    run(echo(static.url("/echo/v1.0")))
    wait_for(lambda: len(static.log_entries()) == 2, "opened and closed")
    assert len(rotated.read_text().splitlines()) == 2


def test_a_port_that_another_process_serves_is_an_error(started, tmp_path, static, file):
    taken = static.port("ws")
    second = Proxy(tmp_path, static=file, name="second", listen=[("ws", taken)])
    try:
        wait_for(lambda: not second.alive(), "the second ends")
        assert second.process.returncode == 1 and str(taken) in second.log()
    finally:
        second.stop()
    third = Program("third", [BIN / "sluice-proxy", "--static", file, "--listen", "ws=127.0.0.1:0", "--admin",
                              f"127.0.0.1:{static.admin}"], tmp_path)
    try:
        wait_for(lambda: not third.alive(), "the third ends")
        assert third.process.returncode == 1 and str(static.admin) in third.log()
    finally:
        third.stop()
