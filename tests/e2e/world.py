"""A running gateway that many tests share: each makes APIs, applications and plans of its own in it."""

import itertools
import time
from pathlib import Path

from backends import EchoBackend
from sluice import ControlPlane, Proxy, wait_for


class World:
    """Control plane, proxy and an echo back end. Names are made up, so tests do not meet."""

    def __init__(self, folder, workers=2, **proxy):
        self.folder = Path(folder)
        self.backend = EchoBackend()
        self.control = ControlPlane(folder).login()
        self.proxy = Proxy(folder, self.control, workers=workers, **proxy).ready()
        self.revision = 0
        self._numbers = itertools.count(1)

    def call(self, method, **request):
        """A call whose revision settle() waits for."""
        answer = self.control.call(method, request)
        self.revision = max(self.revision, int(answer.get("revision", 0)))
        return answer

    def settle(self):
        """Until all that was changed is in force on the proxy."""
        self.control.wait_rollout(self.revision)

    def name(self, stem):
        return f"{stem}-{next(self._numbers)}"

    def api(self, endpoint=None, publish=True, settle=False, **spec):
        """A new API's name; published unless told otherwise."""
        name = self.name("api")
        endpoint = endpoint or self.backend.url
        fields = {"context": f"/{name}", "version": "v1.0",
                  "endpoints": {"production": [endpoint], "sandbox": [endpoint]},
                  "plans": ["Unlimited", "Gold"], **spec}
        self.call("ApiService/CreateApi", api={"name": name, "spec": fields})
        if publish:
            self.state(name, "publish")
        if settle:
            self.settle()
        return name

    def state(self, api, action):
        self.call("ApiService/ChangeApiState", name=api, action=action)

    def plan(self, messages, per="3600s", **spec):
        name = self.name("plan")
        self.call("PlanService/CreatePlan", plan={
            "name": name, "spec": {"messages": messages, "per": per, **spec}})
        return name

    def app(self, *apis, plan="Unlimited", application_plan="Unlimited", key_types=("PRODUCTION",)):
        """A new application's name; subscribed to the APIs on `plan`, with keys."""
        name = self.name("app")
        self.call("ApplicationService/CreateApplication",
                  application={"name": name, "spec": {"plan": application_plan}})
        for api in apis:
            self.subscribe(name, api, plan)
        for key_type in key_types:
            self.call("CredentialService/GenerateKeys", application=name, keyType=key_type)
        return name

    def subscribe(self, app, api, plan="Unlimited"):
        self.call("SubscriptionService/CreateSubscription", subscription={
            "name": f"{app}:{api}", "spec": {"application": app, "api": api, "plan": plan}})

    def subscription_status(self, app, api, status):
        self.call("SubscriptionService/ChangeSubscriptionStatus", name=f"{app}:{api}", status=status)

    def application_status(self, app, status):
        self.call("ApplicationService/ChangeApplicationStatus", name=app, status=status)

    def token(self, app, key_type="PRODUCTION", validity=3600):
        answer = self.call("TokenService/IssueToken", application=app, keyType=key_type,
                           validityS=str(validity))
        return answer["accessToken"]

    def revoke(self, token):
        self.call("TokenService/RevokeToken", token=token)

    def guest(self, plan="Unlimited", application_plan="Unlimited", **api):
        """(API, application, token, URL), in force."""
        api.setdefault("plans", [plan])
        name = self.api(**api)
        app = self.app(name, plan=plan, application_plan=application_plan)
        token = self.token(app)
        self.settle()
        return name, app, token, self.url(name)

    def url(self, api, rest="", listener="ws"):
        return self.proxy.url(f"/{api}/v1.0{rest}", listener)

    def usage(self, api):
        """The sums of an API as numbers."""
        rows = self.control.call("UsageService/GetUsage", {"api": api}).get("usage", [])
        names = ("connections", "refused", "messagesUp", "messagesDown", "bytesUp", "bytesDown", "throttled")
        return {name: sum(int(row.get(name, 0)) for row in rows) for name in names}

    def logged(self, connection_id):
        """The access log's entries of an id, once there are any."""
        return wait_for(lambda: self.proxy.log_entries(connection_id), f"{connection_id} in the access log")

    def stop(self):
        self.proxy.stop()
        self.control.stop()
        self.backend.stop()


def clear_of_edge(window_s, margin_s):
    """Waits until no window of this length ends within the margin, so that a count cannot begin anew."""
    wait_for(lambda: window_s - time.time() % window_s > margin_s, "the window's edge is past", margin_s + 5)
