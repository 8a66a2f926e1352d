"""One database in each of its shapes, used by one test: the replica itself, a client, and both for asyncio."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import level_replicator as lrep
from tests.integration.security.keys import pems, print_of

SHAPES = ["replica", "unix", "tcp", "tls", "shared", "aio-unix", "aio-tcp", "aio-tls", "aio-here"]


class Shape:
    """`db` is the database; `do` calls a function and awaits its result where there is something to await."""

    def __init__(self, name: str, replica: lrep.Replica, db: Any, runner: asyncio.Runner) -> None:
        self.name = name
        self.replica = replica
        self.db = db
        self._runner = runner

    @property
    def is_async(self) -> bool:
        return self.name.startswith("aio")

    def do(self, work: Callable[[], Any]) -> Any:
        """The result of the work. An exhausted iterator raises StopIteration in every shape."""
        if not self.is_async:
            return work()

        async def main() -> Any:
            try:
                found = work()
                return await found if hasattr(found, "__await__") else found
            except StopAsyncIteration:
                return _END

        result = self._runner.run(main())
        if result is _END:
            raise StopIteration
        return result

    def next(self, iterator: Any) -> Any:
        return self.do(lambda: anext(iterator) if self.is_async else next(iterator))

    def items(self, iterable: Any) -> list[Any]:
        """All items that are left."""

        async def collect() -> list[Any]:
            return [item async for item in iterable]

        return self._runner.run(collect()) if self.is_async else list(iterable)

    def outcome(self, work: Callable[[Any], Any]) -> object:
        """The value of some work on the database, or the type of the error that it raised."""
        try:
            found = self.do(lambda: work(self.db))
            if hasattr(found, "__anext__") or hasattr(found, "__next__"):
                return self.items(found)
        except Exception as error:
            return type(error)
        return found


_END = object()


@contextmanager
def open_shape(name: str, folder: Path) -> Iterator[Shape]:
    """Open a replica in `folder`/node and its database in this shape."""
    tls = name.endswith("tls")
    config: dict[str, Any] = {"port": 0}
    options: dict[str, Any] = {}
    if tls:
        config |= {"pems": pems("A"), "trusted": print_of("B")}
        options = {"pems": pems("B"), "fingerprint": print_of("A")}
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        replica = stack.enter_context(lrep.open(folder / "node", config))
        where: Any = folder / "node"
        if not name.endswith("unix"):
            where = "{}:{}".format(*replica.address or ())

        async def opened() -> Any:
            return lrep.aio.wrap(replica) if name == "aio-here" else await lrep.aio.connect(where, **options)

        if name == "replica":
            yield Shape(name, replica, replica, runner)
        elif name.startswith("aio"):
            db = runner.run(opened())
            yield Shape(name, replica, db, runner)
            runner.run(db.close())
        elif name == "shared":
            yield Shape(name, replica, stack.enter_context(lrep.open(folder / "node", share=True)), runner)
        else:
            yield Shape(name, replica, stack.enter_context(lrep.connect(where, **options)), runner)
