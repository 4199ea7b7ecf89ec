"""A static proxy that serves APIs of type HTTP."""

import hashlib
import json
import signal

from http_backend import HttpClient
from sluice import Proxy, wait_for

TOKEN = "http-token-0123456789"
OTHER = "http-token-of-another-application"
SCOPED = "http-token-with-a-scope"
CHUNKED = "Transfer-Encoding: chunked\r\n"


def manifest(kind, name=None, **spec):
    return "kind: {}\n{}spec: {}\n".format(kind, f"name: {name}\n" if name else "", json.dumps(spec))


def token(value, app="app", **spec):
    return manifest("Token", sha256=hashlib.sha256(value.encode()).hexdigest(), application=app,
                    key_type="PRODUCTION", **spec)


class Gateway:
    """A static proxy whose file is made of `apis`: name -> spec."""

    def __init__(self, folder, apis, *more, tokens=None, **options):
        self.file = folder / "gateway.yaml"
        self.apis, self.more = apis, list(more)
        self.tokens = tokens or [token(TOKEN), token(OTHER, "other"), token(SCOPED, scopes=["orders:write"])]
        self.write()
        self.proxy = Proxy(folder, static=self.file, **options).ready()
        self.port = self.proxy.port("ws")

    def write(self):
        parts = [manifest("Listener", "ws", address="127.0.0.1", port=0), *self.more]
        parts += [manifest("Application", app) for app in ("app", "other")]
        for name, spec in self.apis.items():
            spec = {"plan": "Unlimited", **spec}
            plan = spec.pop("plan")
            parts.append(manifest("Api", name, **{"context": f"/{name}", "version": "v1", "type": "HTTP", "plans": [plan],
                                                  "state": "PUBLISHED", **spec}))
            parts += [manifest("Subscription", f"{app}:{name}", application=app, api=name, plan=plan)
                      for app in ("app", "other")]
        self.file.write_text("---\n".join(parts + self.tokens))

    def reload(self):
        self.write()
        seen = self.proxy.log().count("is in force")
        self.proxy.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.proxy.log().count("is in force") > seen, lambda: self.proxy.log()[-2000:])

    def client(self, token=TOKEN, **options):
        return HttpClient(self.port, token, **options)

    def logged(self, request_id):
        return wait_for(lambda: self.proxy.log_entries(request_id), f"{request_id} in the access log")

    def stop(self):
        self.proxy.stop()


def endpoints(*urls):
    return {"endpoints": {"production": list(urls)}}


def code_of(body):
    return json.loads(body)["code"]
