"""What every command shares: the global options, the way to the server, errors in one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console

from server.errors import ServerError
from server.settings import Settings
from tuning.errors import TuningError

if TYPE_CHECKING:
    from server.client import Client

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
store_option = click.option("--store", help="A vector store's name or id [default: your default]")


@dataclass(frozen=True, slots=True)
class Context:
    """The global options."""

    settings: Settings
    url: str | None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """The server's client; where no server runs, the same app is started in this process."""
        from server.client import connect

        keep_quiet()
        with connect(self.settings, url=self.url) as client:
            yield client


def keep_quiet() -> None:
    """A command's user wants its result, not the server's diary."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    # Its last words where it cannot start; the command tells the reason itself.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def fail(reason: object) -> NoReturn:
    """Tell on standard error why a command failed, and exit with 1."""
    err.print(f"houseword: {reason}", style="red", markup=False, soft_wrap=True)
    sys.exit(1)


def told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that a user can mend into one line."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (ServerError, TuningError, OSError) as error:
            fail(error)

    return run
