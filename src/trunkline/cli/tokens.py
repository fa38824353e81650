"""`trunkline tokens`: LiveKit tokens for agents and load clients, and fresh secrets for `.env`."""

from __future__ import annotations

import json
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trunkline.core.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

MAX_NAME_CHARS = 128


class Role(StrEnum):
    """Who joins."""

    AGENT = "agent"
    CALLER = "caller"


@app.command()
def tokens(
    *,
    role: Annotated[Role, typer.Option(help="Who joins with it.")] = Role.CALLER,
    room: Annotated[str, typer.Option(help="The only room that it opens.")] = "",
    identity: Annotated[str, typer.Option(help="The participant (default: the role and a random number).")] = "",
    ttl: Annotated[
        int | None, typer.Option(min=1, max=600, help="Seconds until it must be used (default: CALL_TOKEN_TTL_S, 60).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print room, identity and address as well, as JSON.")] = False,
    show_secrets: Annotated[
        bool, typer.Option("--secrets", help="Print fresh random secrets for .env instead.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write random secrets into .env instead, where none are set.")
    ] = False,
) -> None:
    """Mint a LiveKit token for one participant of one room, with LIVEKIT_API_KEY and LIVEKIT_API_SECRET.

    The token goes to standard output. Whoever has it can join until it expires; a room of its own invention gets no
    agent, for that ask the orchestrator: POST /token.

    Example: trunkline tokens --role caller --room room-test --ttl 60
    """
    from trunkline.stack import env_file

    if init:
        path = Path(".env")
        typer.echo(env_file.report(path, env_file.init(path, Path(".env.example"))))
    elif show_secrets:
        for name, value in env_file.fresh_secrets().items():
            typer.echo(f"{name}={value}")
    else:
        typer.echo(_mint(role, room, identity or f"{role}-{secrets.token_hex(6)}", ttl, json_))


def _mint(role: Role, room: str, identity: str, ttl_s: int | None, as_json: bool) -> str:
    """The token, alone or with what its user must know."""
    from trunkline.orchestrator.tokens import mint_room_token
    from trunkline.settings import load_settings

    if not room:
        raise ConfigError("--room is not given", "name the room that the token opens, or see --help")
    for option, name in (("--room", room), ("--identity", identity)):
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise ConfigError(f"{option} must have 1 to {MAX_NAME_CHARS} printable characters")
    settings = load_settings(**({} if ttl_s is None else {"call_token_ttl_s": ttl_s}))
    settings.require("livekit_api_key", "livekit_api_secret")
    token = mint_room_token(settings, room, identity, agent=role is Role.AGENT)
    if not as_json:
        return token
    return json.dumps(
        {
            "token": token,
            "url": settings.livekit_ws_url,
            "room": room,
            "identity": identity,
            "role": role.value,
            "expires_in_s": settings.call_token_ttl_s,
        }
    )
