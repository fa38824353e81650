"""`trunkline metrics`: run the metrics collector."""

from __future__ import annotations

import socket

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def metrics() -> None:
    """Run the metrics collector: it takes the marks of all calls and tells how long callers wait for an answer.

    Settings come from the environment or .env, see .env.example. Listens on METRICS_LISTEN, HTTP on TCP and datagrams
    on UDP; GET /summary looks back over METRICS_WINDOW_S seconds; METRICS_CSV_DIR keeps every turn and call.

    Example: METRICS_LISTEN=:9100 METRICS_CSV_DIR=runs/csv trunkline metrics
    """
    import uvloop

    from trunkline.cli.heap import settle_heap
    from trunkline.cli.serving import listen, serve
    from trunkline.logs import configure_logs
    from trunkline.metrics.app import collecting
    from trunkline.settings import settings

    config = settings()
    configure_logs(config, "metrics")
    # What arrives makes no cycles; looking for some in all that is kept would take a quarter of the time.
    settle_heap()

    async def run() -> None:
        address = config.metrics_listen
        with (
            listen("METRICS_LISTEN", address) as door,
            listen("METRICS_LISTEN", address, socket.SOCK_DGRAM) as datagrams,
        ):
            async with collecting(config, datagrams) as collector:
                await serve(collector, door)

    uvloop.run(run())
