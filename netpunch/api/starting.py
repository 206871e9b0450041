"""What a call returns that has something started: for `await`, and for `async with`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from netpunch.errors import UsageError

T = TypeVar("T", bound=AbstractAsyncContextManager[Any])


class Starting(Generic[T]):
    """Starts when it is awaited, or entered by `async with`, which closes it in the end; once."""

    call = ""
    """The one that returned it."""

    def __init__(self, start: Callable[[], Awaitable[T]]) -> None:
        self._start: Callable[[], Awaitable[T]] | None = start
        self._started: T | None = None

    def __await__(self) -> Generator[object, None, T]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> T:
        start, self._start = self._start, None  # it has the keys
        if start is None:
            raise UsageError(f"this was started before: call {self.call}() again")
        self._started = await start()
        return self._started

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._started is not None:
            await self._started.__aexit__(kind, error, traceback)
