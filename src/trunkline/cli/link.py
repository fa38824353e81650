"""`trunkline link`: a link with which somebody calls the agent from a browser, once."""

from __future__ import annotations

from collections.abc import Mapping

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ASK_TIMEOUT_S = 5.0


@app.command()
def link() -> None:
    """Print a link to the page /call of the stack that `trunkline up` keeps running here, or of the one at ORCH_URL.

    Whoever opens it may call the agent from the browser once, within a quarter of an hour. Needs ORCH_API_KEY where
    the stack runs elsewhere.

    Example: trunkline link
    """
    from trunkline.cli.running import INTERRUPTED, run
    from trunkline.core.errors import ConfigError
    from trunkline.settings import load_settings
    from trunkline.stack.state import read_state

    try:
        env = read_state().env
    except ConfigError:
        settings = load_settings()
        settings.require("orch_api_key")
        env = {"ORCH_URL": settings.orch_url, "ORCH_API_KEY": settings.orch_api_key.get_secret_value()}

    async def show() -> int:
        typer.echo(await make_link(env))
        return 0

    code = run(show())
    raise typer.Exit(INTERRUPTED if code is None else code)


async def make_link(env: Mapping[str, str]) -> str:
    """Asks the orchestrator for a link.

    Args:
        env: ORCH_URL and ORCH_API_KEY.

    Raises:
        UpstreamError: it does not answer, or does not want to.
    """
    import httpx

    from trunkline.core.errors import UpstreamRejectedError, UpstreamUnavailableError

    address = env["ORCH_URL"].rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=ASK_TIMEOUT_S, trust_env=False) as http:
            headers = {"Authorization": f"Bearer {env['ORCH_API_KEY']}"}
            response = await http.post(f"{address}/call/links", headers=headers)
            if response.status_code != httpx.codes.OK:
                raise UpstreamRejectedError("orchestrator", f"no link, status {response.status_code}")
            return str(response.json()["link"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise UpstreamUnavailableError("orchestrator", f"no answer from {address}") from error
