"""Ray, as far as the farm knows it, in threads of this process: machines start when they are let, and are lost when they are told to."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any


class Lost(Exception):
    """Ray's RayError."""


class FakeRay:
    """A cluster of one machine for each of `cores`.

    Attributes:
        called: what its actors were asked, in order: (number of the actor, method). stored: values in the object store.
        meets: (number, method) -> None, before every call of an actor; raises Lost when that actor is to be lost.
    """

    exceptions = SimpleNamespace(RayError=Lost)
    cloudpickle = pickle

    def __init__(self, cores: list[int], meets: Callable[[int, str], None] = lambda number, method: None) -> None:
        self.meets, self.called, self.stored = meets, list[tuple[int, str]](), list[Any]()
        self._nodes = [
            {"NodeID": str(n), "Alive": True, "Resources": {"CPU": float(c)}, "NodeManagerHostname": "nowhere", "NodeManagerAddress": "192.0.2.1"}
            for n, c in enumerate(cores)
        ]  # fmt: skip
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=strategies)
        self.actors: list[_Actor] = []

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes

    def put(self, value: Any) -> Any:
        self.stored.append(value)
        return value

    def get(self, task: Future[Any], timeout: float | None = None) -> Any:
        try:
            return task.result(timeout)
        except TimeoutError:
            raise Lost from None  # Ray's GetTimeoutError is a RayError

    def wait(self, tasks: list[Future[Any]], num_returns: int, timeout: float) -> tuple[list[Future[Any]], None]:
        return list(wait(tasks, timeout, FIRST_COMPLETED).done)[:num_returns], None

    def kill(self, actor: _Actor) -> None:
        actor.lost = True

    def remote(self, **options: Any) -> Callable[[type], Any]:
        return lambda made: SimpleNamespace(remote=lambda *args: _Actor(self, made, args))


class _Actor:
    def __init__(self, ray: FakeRay, made: type, args: tuple[Any, ...]) -> None:
        self.number, self.lost, self._ray, self._made = len(ray.actors), False, ray, threading.Lock()
        self._it: Any = None
        ray.actors.append(self)
        one, other = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.do, self.open = (SimpleNamespace(remote=self._asked(one, made, args, name)) for name in ("do", "open"))
        self.beside = SimpleNamespace(remote=self._asked(other, made, args, "beside"))

    def _asked(self, threads: ThreadPoolExecutor, made: type, args: tuple[Any, ...], how: str) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            method = how if how == "open" else values[0]
            self._ray.called.append((self.number, method))
            if self.lost:
                raise Lost
            try:
                self._ray.meets(self.number, method)
            except Lost:
                self.lost = True
                raise
            with self._made:
                self._it = self._it or made(*args)
            return getattr(self._it, how)(*values)

        return lambda *asked: threads.submit(call, *asked)
