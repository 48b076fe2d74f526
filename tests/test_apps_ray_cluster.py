"""Connecting to a cluster: what ``--on`` takes, and what is said where Ray is not there."""

import os
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from pulmoscope.apps.ray import cluster
from pulmoscope.core.errors import PulmoscopeError, ResourceError
from pulmoscope.core.threads import SWITCH, cores


@pytest.mark.parametrize(
    ("on", "address"),
    [("ray", "local"), ("ray://head", "ray://head:10001"), ("ray://10.0.0.1:7777", "ray://10.0.0.1:7777")],
)
def test_what_on_names(on: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster.address_of(on) == address


def test_the_cluster_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster.address_of("ray") == "10.0.0.1:6379"


@pytest.mark.parametrize("on", ["", "spark", "ray:", "ray://", "ray://head:port"])
def test_what_names_no_cluster_is_refused(on: str) -> None:
    with pytest.raises(PulmoscopeError, match="--on takes"):
        cluster.address_of(on)


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    with pytest.raises(ResourceError) as raised, cluster.connect("ray"):
        pass
    assert "pip install 'pulmoscope[scale]'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cluster_on_this_machine_asks_for_a_token_unless_the_user_has_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(os, "environ", environ := {})
    cluster._ask_for_token()
    assert environ["RAY_AUTH_MODE"] == "token"
    assert len(environ["RAY_AUTH_TOKEN"]) == 64
    for decided in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "a"}):
        monkeypatch.setattr(os, "environ", environ := dict(decided))
        cluster._ask_for_token()
        assert environ == decided


def test_a_cluster_that_can_not_be_reached_may_want_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    ray = SimpleNamespace(init=init, _private=SimpleNamespace(worker=SimpleNamespace()))
    for mode, hint in (("disabled", True), ("token", False)):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        with pytest.raises(ResourceError) as raised:
            cluster._init(ray, "ray://head:10001", "ray://head", {})
        assert ("RAY_AUTH_MODE=token" in str(raised.value)) is hint


@pytest.mark.parametrize(("said", "expected"), [("1", 1), ("3", 3)])
def test_threads_are_as_many_as_the_environment_says(
    said: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, said)
    assert cores() == expected


@pytest.mark.parametrize("said", ["", "0", "-1", "many"])
def test_else_one_a_processor(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, said)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert cores() == 7
