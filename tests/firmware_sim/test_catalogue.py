"""Every simulated device that there is: it can be started by name, and what it says to configure is right."""

from __future__ import annotations

import argparse
import asyncio
import tomllib
from typing import Any

import msgspec
import pytest

from drivers import registry
from firmware_sim.catalogue import Around, Kind, kinds
from firmware_sim.patient import Patient


@pytest.fixture(params=kinds(), ids=lambda kind: str(kind.name))
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def options_of(kind: Kind) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    kind.add_options(parser)
    required = [option for action in parser._actions if action.required for option in action.option_strings[:1]]
    return parser.parse_args([word for option in required for word in (option, "127.0.0.1:9")])


def test_names_are_told_apart() -> None:
    names = [kind.name for kind in kinds()]
    assert len(set(names)) == len(names) > 2


def test_it_starts_says_what_to_configure_and_stops(kind: Kind) -> None:
    async def session() -> str:
        device = kind.make(options_of(kind), Around(Patient(1)))
        await device.start()
        told = device.describe()
        await device.stop()
        assert device.summary()
        return told

    told = tomllib.loads(asyncio.run(session()))
    assert told["feed"]
    for feed in told["feed"]:
        spec: Any = registry.get(feed["driver"]).spec
        assert len(feed.keys() & set(spec.transports)) == 1
        msgspec.convert(feed.get("options", {}), spec.config)
