"""`tidegate serve`: run the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file. Default: ./tidegate.yaml if it is there."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address of the data port.")] = None,
    port: Annotated[int | None, typer.Option(help="The data port.")] = None,
    workers: Annotated[
        str | None, typer.Option(help="Number of workers, or `auto`: one for each core.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of everything that outlives a restart.")
    ] = None,
    control_port: Annotated[int | None, typer.Option(help="The control port.")] = None,
) -> None:
    """Run the gateway until SIGTERM or SIGINT (drains; a second one cuts). SIGHUP reloads."""
    # Here, not above: other commands, and `--help`, do not need it. The children come first:
    # they import their code while the supervisor imports its own and reads the configuration.
    from tidegate.workers.spawn import start_early

    early = start_early()
    from tidegate.workers.plan import Overrides
    from tidegate.workers.supervisor import main

    given = {
        "server.host": host,
        "server.port": port,
        "server.workers": int(workers) if workers and workers.isdecimal() else workers,
        "server.data_dir": data_dir,
        "server.control_port": control_port,
    }
    settings: dict[str, object] = {
        name: value for name, value in given.items() if value is not None
    }
    raise typer.Exit(main(Overrides(config, settings), early))
