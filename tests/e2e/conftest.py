"""One simulator and one router that all tests may share; each test leaves them as it found them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Router, Simulator, router, simulator


@pytest.fixture(scope="session")
def shared_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_router(
    tmp_path_factory: pytest.TempPathFactory, shared_simulator: Simulator
) -> Iterator[Router]:
    with router(tmp_path_factory.mktemp("router"), shared_simulator) as running:
        yield running


@pytest.fixture
def upstream(shared_simulator: Simulator) -> Iterator[Simulator]:
    yield shared_simulator
    shared_simulator.clear_faults()
    shared_simulator.assert_clean_log()


@pytest.fixture
def service(shared_router: Router) -> Iterator[Router]:
    yield shared_router
    shared_router.wait_idle()
    shared_router.assert_clean_log()


@pytest.fixture
def own_upstream(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator that no other test has put load or faults on."""
    with simulator(tmp_path) as running:
        yield running
