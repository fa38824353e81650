"""`trunkline agent`: run one agent worker."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def agent() -> None:
    """Run one agent worker: it takes calls from the orchestrator and answers them.

    Settings come from the environment or .env, see .env.example. Needs LIVEKIT_API_KEY, LIVEKIT_API_SECRET,
    LIVEKIT_HOST, ORCH_URL and METRICS_ENDPOINT.

    Example: WORKER_CAPACITY=25 trunkline agent
    """
    import uvloop

    from trunkline.agent.pipeline.loguru_bridge import route_loguru
    from trunkline.agent.tls import share_tls_contexts
    from trunkline.cli.heap import load_late_modules, settle_heap
    from trunkline.logs import configure_logs
    from trunkline.settings import settings

    config = settings()
    configure_logs(config, "agent")
    route_loguru()
    share_tls_contexts()
    config.require("livekit_api_key", "livekit_api_secret")
    # Only now: Pipecat greets on standard error when it is imported, in a format of its own.
    from trunkline.agent.pipeline.stt import check_providers
    from trunkline.agent.worker import Worker

    check_providers(config)

    async def run() -> None:
        worker = Worker(config)
        load_late_modules()
        settle_heap()
        await worker.run()

    uvloop.run(run())
