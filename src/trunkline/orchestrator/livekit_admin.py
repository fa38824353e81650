"""What the orchestrator asks of LiveKit with the API key: rooms, the SIP trunk and its rule.

Every request has a time limit; whatever goes wrong becomes an UpstreamError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import aiohttp
import structlog
from google.protobuf.message import DecodeError
from livekit import api
from livekit.protocol import models, sip

from trunkline.core import wire
from trunkline.core.errors import ConfigError, UpstreamRejectedError, UpstreamTimeoutError, UpstreamUnavailableError
from trunkline.settings import Settings

log = structlog.get_logger()

REQUEST_TIMEOUT_S = 3.0
LOST_ANSWER = "transaction failed to complete"
"""livekit-sip 1.8 may end a transaction before it looks at the 202 that ended it, and then says this: seen in about one
of ten transfers. Said so soon, the far end has taken the REFER; an answer that did not come is missed after 32 s."""
LOST_ANSWER_S = 5.0
LOST_ANSWER_WAIT_S = 1.0
"""As long as livekit-sip itself leaves the far end to hang up."""
TRANSFER_TIMEOUT_S = 25
"""How long the number may ring that a call is transferred to."""
NAME = "trunkline"
"""Of the trunk and of the dispatch rule: ours are known by it."""

TRUNK_ATTRIBUTE = "sip.trunkID"
"""Participant attribute under which livekit-sip tells the trunk a phone call came by."""

DEPARTURE_TIMEOUT_S = 20
"""How long a room outlives its last participant: a worker that takes over may find it."""

MAX_SHARING = 25
"""Callers in one shared room."""

T = TypeVar("T")


class LiveKitAdmin:
    """LiveKit's server API.

    Args:
        settings: LIVEKIT_HOST and the key, the trunk's credentials.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = api.LiveKitAPI(
            settings.livekit_http_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            # Retries at other regions are for LiveKit's cloud.
            failover=False,
        )
        self.trunk_id = ""

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.aclose()

    async def ping(self) -> None:
        """Asks for nothing, to see that LiveKit is there and takes our key."""
        await self._ask(self._api.room.list_rooms(api.ListRoomsRequest(names=["none"])))

    async def create_room(self, call: str) -> None:
        """Makes a call's room; one that is there already is fine."""
        await self._ask(
            self._api.room.create_room(
                api.CreateRoomRequest(
                    name=wire.room_of(call),
                    empty_timeout=round(self._settings.call_token_ttl_s),
                    departure_timeout=DEPARTURE_TIMEOUT_S,
                    # One caller; LiveKit does not count agents. A second phone would be answered by the first one's
                    # track, and hear it.
                    max_participants=1,
                )
            )
        )

    async def open_shared_room(self, room: str) -> None:
        """Makes a room for several calls; one that is there already is fine."""
        await self._ask(
            self._api.room.create_room(
                api.CreateRoomRequest(
                    name=room,
                    empty_timeout=round(self._settings.call_token_ttl_s),
                    departure_timeout=DEPARTURE_TIMEOUT_S,
                    max_participants=MAX_SHARING,
                )
            )
        )

    async def delete_room(self, room: str) -> None:
        """Puts everybody out of a room, which hangs up a phone. A room that is gone is fine."""
        await self._ask_for_gone(self._api.room.delete_room(api.DeleteRoomRequest(room=room)))

    async def remove_participant(self, room: str, identity: str) -> None:
        """Puts one participant out. One that is gone is fine."""
        await self._ask_for_gone(
            self._api.room.remove_participant(api.RoomParticipantIdentity(room=room, identity=identity))
        )

    def is_our_phone(self, participant: models.ParticipantInfo) -> bool:
        """True for a phone call that came in by our trunk; a LiveKit may serve others beside us."""
        if participant.kind != models.ParticipantInfo.Kind.SIP or not self.trunk_id:
            return False
        return participant.attributes.get(TRUNK_ATTRIBUTE) == self.trunk_id

    async def rooms(self) -> list[str]:
        """All rooms that somebody is in."""
        found = await self._ask(self._api.room.list_rooms(api.ListRoomsRequest()))
        return [room.name for room in found.rooms if room.num_participants]

    async def our_phones_in(self, room: str) -> list[str]:
        """Identities of the phone calls in a room that came in by our trunk."""
        try:
            found = await self._ask(self._api.room.list_participants(api.ListParticipantsRequest(room=room)))
        except UpstreamRejectedError:
            return []
        return [participant.identity for participant in found.participants if self.is_our_phone(participant)]

    async def has_track(self, room: str, identity: str) -> bool:
        """True where the participant has published a track, and where there is no such participant to wait for."""
        try:
            found = await self._ask(
                self._api.room.get_participant(api.RoomParticipantIdentity(room=room, identity=identity))
            )
        except UpstreamRejectedError:
            return True
        return bool(found.tracks)

    async def transfer(self, room: str, identity: str, number: str) -> None:
        """Has livekit-sip hand a phone over by REFER; returns when the far end says it is done.

        Raises:
            UpstreamError: it is not done; the phone is still in the room.
        """
        wanted = api.TransferSIPParticipantRequest(
            room_name=room, participant_identity=identity, transfer_to=f"tel:{number}"
        )
        wanted.ringing_timeout.FromSeconds(TRANSFER_TIMEOUT_S)
        began_at = asyncio.get_running_loop().time()
        try:
            outcome = await self._ask(self._api.sip.transfer_sip_participant(wanted))
        except UpstreamRejectedError as error:
            took_s = asyncio.get_running_loop().time() - began_at
            if LOST_ANSWER not in error.problem or took_s > LOST_ANSWER_S:
                raise
            log.warning("transfer_answer_lost", room=room)
            await asyncio.sleep(LOST_ANSWER_WAIT_S)
            return
        if outcome.status == sip.STS_TRANSFER_FAILED:
            raise UpstreamRejectedError("livekit-sip", f"the transfer failed: {outcome.sip_status.code}")

    async def ensure_trunk(self) -> None:
        """Makes the inbound trunk and its rule as the settings say; may be run any number of times.

        The first time a trunk of ours that is there is put right; later it is only looked for.

        Raises:
            ConfigError: neither a password nor an address list is set, so anybody could call.
        """
        trunk = self._wanted_trunk()
        found = await self._ask(self._api.sip.list_inbound_trunk(api.ListSIPInboundTrunkRequest()))
        ours = [each.sip_trunk_id for each in found.items if each.name == NAME]
        if ours and self.trunk_id == ours[0]:
            return
        if ours:
            await self._ask(self._api.sip.update_inbound_trunk(ours[0], trunk))
        else:
            made = await self._ask(self._api.sip.create_inbound_trunk(api.CreateSIPInboundTrunkRequest(trunk=trunk)))
            ours = [made.sip_trunk_id]
        await self._ensure_rule(ours[0])
        self.trunk_id = ours[0]
        log.info("trunk_ready", trunk=ours[0])

    async def _ensure_rule(self, trunk_id: str) -> None:
        """The user part of the dialled URI is the room: sip:room-CA123@host comes into room-CA123."""
        rules = await self._ask(self._api.sip.list_dispatch_rule(api.ListSIPDispatchRuleRequest()))
        for rule in rules.items:
            if rule.name == NAME and list(rule.trunk_ids) == [trunk_id]:
                return
            if rule.name == NAME:
                await self._ask(
                    self._api.sip.delete_dispatch_rule(
                        api.DeleteSIPDispatchRuleRequest(sip_dispatch_rule_id=rule.sip_dispatch_rule_id)
                    )
                )
        callee = api.SIPDispatchRule(dispatch_rule_callee=api.SIPDispatchRuleCallee(randomize=False))
        wanted = api.CreateSIPDispatchRuleRequest(name=NAME, trunk_ids=[trunk_id], rule=callee)
        await self._ask(self._api.sip.create_dispatch_rule(wanted))

    def _wanted_trunk(self) -> api.SIPInboundTrunkInfo:
        settings = self._settings
        addresses = [part.strip() for part in settings.sip_trunk_addresses.split(",") if part.strip()]
        password = settings.sip_trunk_password.get_secret_value()
        if not addresses and not (settings.sip_trunk_username and password):
            raise ConfigError(
                "no SIP trunk: anybody could call",
                "set SIP_TRUNK_USERNAME and SIP_TRUNK_PASSWORD, or SIP_TRUNK_ADDRESSES",
            )
        return api.SIPInboundTrunkInfo(
            name=NAME,
            allowed_addresses=addresses,
            auth_username=settings.sip_trunk_username if password else "",
            auth_password=password,
            headers_to_attributes={"X-Call-Token": wire.CALL_TOKEN_ATTRIBUTE},
        )

    async def _ask_for_gone(self, request: Awaitable[object]) -> None:
        try:
            await self._ask(request)
        except UpstreamRejectedError as error:
            if "not_found" not in error.problem:
                raise

    async def _ask(self, request: Awaitable[T]) -> T:
        try:
            return await request
        except api.TwirpError as error:
            if error.status in (401, 403):
                raise UpstreamRejectedError("livekit", "LIVEKIT_API_KEY or LIVEKIT_API_SECRET is wrong") from error
            if error.status >= 500:
                raise UpstreamUnavailableError("livekit", f"{error.code}: {error.message}") from error
            raise UpstreamRejectedError("livekit", f"{error.code}: {error.message}") from error
        except TimeoutError as error:
            raise UpstreamTimeoutError("livekit", f"no answer within {REQUEST_TIMEOUT_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnavailableError("livekit", f"can't connect to {self._settings.livekit_http_url}") from error
        except (ValueError, KeyError, DecodeError) as error:
            problem = f"{self._settings.livekit_http_url} answers, but not as livekit-server does"
            raise UpstreamUnavailableError("livekit", problem) from error
