"""Writers that are killed, in a process of its own that can be forked: no torch, no threads.

    python -m tests.support.crash kill STORE TIMES    kill a writer TIMES times; after each, reopen and check
    python -m tests.support.crash import STORE BUNDLE TIMES
    python -m tests.support.crash write STORE FIRST COUNT SHARED
    python -m tests.support.crash full STORE
"""

import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

from analysis_cache.errors import StoreError
from analysis_cache.exchange import import_bundle
from analysis_cache.store import EvidenceStore
from tests.support.cells import identity, outcomes, summary


def killed(work: Callable[[int], None], after_s: float, once_begun: bool) -> list[int]:
    """Run `work` in a child, kill -9 it `after_s` from now or from its first number, and return the numbers it had written."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    if once_begun:
        select.select([reading], [], [], 60)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return [int(line) for line in pipe.read().split()]


def kill(path: str, times: int) -> Iterator[str]:
    """Every acknowledged cell is there after each kill, and a writer that comes back writes none of them again."""
    moments, acknowledged = random.Random(5), set()
    identities = [identity(number) for number in range(3000)]
    keys = [one.key for one in identities]
    for attempt in range(times):

        def work(pipe: int) -> None:
            with EvidenceStore.open(path) as store:
                stored = store.has_many(keys)
                for number, one in enumerate(identities):
                    if keys[number] not in stored:
                        assert store.put(one, summary(number), outcomes(number))
                        os.write(pipe, b"%d\n" % number)

        # the first kills hit the making of the store itself
        new = killed(work, moments.uniform(0, 0.02 if attempt < 4 else 0.06), attempt >= 4)
        if acknowledged & set(new):
            yield "a stored cell was measured again"
        acknowledged |= set(new)
        with EvidenceStore.open(path) as store:
            result = store.verify()
            if not result.ok:
                yield f"damage: {result.problems}"
            if len(store.has_many(keys[number] for number in acknowledged)) != len(acknowledged):
                yield "an acknowledged cell is lost"
    if len(acknowledged) < times - 4:
        yield f"only {len(acknowledged)} cells were written: the kills came too early to show anything"


def import_killed(path: str, bundle: str, times: int) -> Iterator[str]:
    """After each kill either all of the bundle is there or nothing."""
    moments = random.Random(6)
    with EvidenceStore.open(path) as store:
        store.put(identity(99_999), summary(), outcomes())

    def work(pipe: int) -> None:
        with EvidenceStore.open(path) as store:
            os.write(pipe, b"1\n")
            import_bundle(store, bundle)

    begun = time.monotonic()
    with EvidenceStore.open(f"{path}.timed") as store:
        import_bundle(store, bundle)
    takes_s = time.monotonic() - begun
    for _ in range(times):
        killed(work, moments.uniform(0, 1.5 * takes_s), True)
        with EvidenceStore.open(path) as store:
            result = store.verify()
            if not result.ok or result.cells not in (1, 301) or (result.cells == 301) != (result.analyses == 1):
                yield f"part of the bundle: {result}"
            store.prune(forget=[analysis.id for analysis in store.list_analyses()])
            store.put(identity(99_999), summary(), outcomes())


def write(path: str, first: int, count: int, shared: int) -> None:
    """Put cells of one's own and cells that every writer puts; print how many were new."""
    new, figures, arrays = 0, summary(), outcomes()
    with EvidenceStore.open(path) as store:
        for number in (*range(first, first + count), *range(900_000, 900_000 + shared)):
            new += store.put(identity(number), figures, arrays)
    print(new)


def full(path: str) -> Iterator[str]:
    """Write until the disk is full; all that was acknowledged stays readable."""
    with EvidenceStore.open(path) as store:
        stored = 0
        try:
            for stored in range(100_000):
                store.put(identity(stored), summary(stored), outcomes(stored, 2000))
        except StoreError as error:
            if "is full" not in str(error) and "could not be" not in str(error):
                yield str(error)
    with EvidenceStore.open(path, read_only=True) as store:
        if not store.verify().ok or store.verify().cells != stored or stored < 10:
            yield f"{stored} cells were acknowledged, {store.verify()}"


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    run = {"kill": kill, "import": import_killed, "write": write, "full": full}[command]
    complaints = list(run(*(int(value) if value.isdecimal() else value for value in given)) or ())
    print("\n".join(complaints), end="")
    sys.exit(1 if complaints else 0)
