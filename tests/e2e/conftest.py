"""Fixtures: `control`, `backend`, `proxy` and `stack` are started when asked for and ended with the test;
`world` is shared by the tests of a file."""

import asyncio
from types import SimpleNamespace

import pytest

import backends
import sluice
from world import World


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left out by tests/run.sh --quick")


@pytest.fixture
def run():
    """Runs a coroutine to its end under a deadline."""
    def run_coroutine(coroutine, seconds=30):
        return asyncio.run(asyncio.wait_for(coroutine, seconds * sluice.PATIENCE))
    return run_coroutine


@pytest.fixture
def started():
    """Give it a program or backend; it is stopped at the end, newest first."""
    things = []

    def keep(thing):
        things.append(thing)
        return thing
    yield keep
    failures = []
    for thing in reversed(things):
        try:
            thing.stop()
        except Exception as failure:  # the others are to end all the same
            failures.append(failure)
    assert not failures, failures


@pytest.fixture
def backend(started):
    return started(backends.EchoBackend())


@pytest.fixture
def control(started, tmp_path):
    return started(sluice.ControlPlane(tmp_path)).login()


@pytest.fixture
def proxy(started, control, tmp_path):
    return started(sluice.Proxy(tmp_path, control)).ready()


@pytest.fixture
def stack(control, proxy, backend):
    """Control plane, proxy and an echo API `echo` that application `app` may use on Gold; `token` is its."""
    control.publish("echo", backend.url)
    revision = control.subscribe("app", "echo")
    control.keys("app")
    token = control.issue("app")
    control.wait_rollout(revision)
    return SimpleNamespace(control=control, proxy=proxy, backend=backend, token=token,
                           url=proxy.url("/echo/v1.0"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A gateway for all tests of the file; see world.py."""
    gateway = World(tmp_path_factory.mktemp("world"))
    yield gateway
    gateway.stop()
