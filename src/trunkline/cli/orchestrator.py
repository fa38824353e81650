"""`trunkline orchestrator`: webhooks, tokens, admission, the registry's watchdog."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def orchestrator() -> None:
    """Run the orchestrator: it takes Twilio's webhooks, gives out tokens and slots, and watches over the calls.

    Settings come from the environment or .env, see .env.example. Needs LIVEKIT_API_KEY, LIVEKIT_API_SECRET,
    LIVEKIT_HOST, REDIS_URL and TWILIO_SIP_INGRESS_HOST; webhooks need TWILIO_AUTH_TOKEN, /token and /calls
    ORCH_API_KEY, phone calls SIP_TRUNK_USERNAME and SIP_TRUNK_PASSWORD.

    Example: ORCH_LISTEN=127.0.0.1:8000 trunkline orchestrator
    """
    import uvloop

    from trunkline.cli.heap import settle_heap
    from trunkline.cli.serving import listen, serve
    from trunkline.logs import configure_logs
    from trunkline.orchestrator.app import create_app, make_context, wait_for_upstreams
    from trunkline.settings import settings

    config = settings()
    configure_logs(config, "orchestrator")

    async def run() -> None:
        with listen("ORCH_LISTEN", config.orch_listen) as door:
            context = make_context(config)
            try:
                await wait_for_upstreams(context)
            except BaseException:
                await context.livekit.close()
                await context.registry.close()
                raise
            service = create_app(context)
            settle_heap()
            await serve(service, door)

    uvloop.run(run())
