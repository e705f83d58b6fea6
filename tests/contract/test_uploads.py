"""How many files are taken in at once."""

import anyio
import pytest

from proxy.errors import Overloaded
from proxy.routes.upload import AT_ONCE, MAX_WAITING, UploadPlaces


def test_places_when_many_come_at_once_then_few_work_some_wait_and_the_rest_are_turned_away() -> None:
    async def run() -> tuple[int, int, int]:
        places, done = UploadPlaces(), anyio.Event()
        working = most = finished = refused = 0

        async def upload() -> None:
            nonlocal working, most, finished, refused
            try:
                async with places.taken():
                    working += 1
                    most = max(most, working)
                    await done.wait()
                    working -= 1
                    finished += 1
            except Overloaded as error:
                assert error.retry_after_s
                refused += 1

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE + MAX_WAITING + 5):
                group.start_soon(upload)
            await anyio.wait_all_tasks_blocked()
            done.set()
        async with places.taken():
            return most, finished, refused

    assert anyio.run(run) == (AT_ONCE, AT_ONCE + MAX_WAITING, 5)


def test_places_when_one_gives_up_while_it_waits_then_its_turn_is_anothers() -> None:
    async def run() -> None:
        places = UploadPlaces()
        async with places.taken(), places.taken():
            with anyio.move_on_after(0.01):
                async with places.taken():
                    pytest.fail("there is no place")
        with anyio.fail_after(30):
            async with places.taken(), places.taken():
                pass

    anyio.run(run)
