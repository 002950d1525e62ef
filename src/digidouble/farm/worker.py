"""A process that renders segments for another one on the same machine.

A program of its own and not a fork: a fork would copy running threads, and `multiprocessing` would run a user's script a second time.
It is told what to do through a pipe that it inherits, and ends when its standard input does: with whoever started it, however that
ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from digidouble.errors import DigidoubleError, FarmError
from digidouble.farm.node import Job, Sources, made
from digidouble.farm.segments import Place


@dataclass(frozen=True)
class Start:
    """What a worker is told once it is known what becomes of its sources.

    Attributes:
        folder, passes_folder: where its segments and their passes go, with everybody else's.
    """

    job: Job
    folder: Path
    passes_folder: Path


def serve(pipe: Connection) -> None:
    """Open `Sources`, answer `Start` with None, then every segment with what was `Made`; errors are answered as they are."""
    try:
        sources: Sources = pipe.recv()
        opened = sources.opened()
        start: Start = pipe.recv()
        _, crew = opened.crew(start.job, Place(start.job.plan, start.folder, None, start.passes_folder), 1)
        pipe.send(None)
        while (segment := pipe.recv()) is not None:
            pipe.send(made(crew, [segment], start.job.wanted))
        crew.close()
    except DigidoubleError as e:
        pipe.send(e)
    except EOFError:  # nobody asks any more
        return
    except Exception as e:
        pipe.send(FarmError(f"a worker process failed: {type(e).__name__}: {e}"))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """The process. The pipe's number is its only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Connection(int(sys.argv[1])) as pipe:
        serve(pipe)
    os._exit(0)  # the thread that reads standard input would be waited for
