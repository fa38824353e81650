"""A Twilio that signs its requests: posts a call's webhook and reads the TwiML, as Twilio does before it dials.

For the demo, `trunkline call`, load and tests. What it does not do is carry the call: that is the simulated phone's.
"""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx
from twilio.request_validator import RequestValidator

from trunkline.core.errors import (
    ConfigError,
    RemoteProtocolError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

WEBHOOK_TIMEOUT_S = 15.0
"""As long as Twilio waits."""


@dataclass(frozen=True, slots=True)
class DialSip:
    """TwiML says: dial this.

    Args:
        uri: With its headers, such as sip:room-CA1@host?x-call-token=abc.
        username: For the digest; empty where none is given.
        password: For the digest.
        action: Where the end of the dial is posted; empty where nowhere.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    action: str


@dataclass(frozen=True, slots=True)
class Speak:
    """TwiML says these words and hangs up."""

    words: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """TwiML hangs up."""


Instruction: TypeAlias = DialSip | Speak | HangUp


def new_call_sid() -> str:
    """An id as Twilio makes them."""
    return f"CA{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class TwilioEmulator:
    """One Twilio account with one number.

    Args:
        webhook_url: Where the orchestrator is posted to, without a path.
        auth_token: The account's; signs every request.
        http: Carries the requests.
        public_url: The address that is signed; empty: `webhook_url`.
        account_sid: Made up.
    """

    webhook_url: str
    auth_token: str = field(repr=False)
    http: httpx.AsyncClient
    public_url: str = ""
    account_sid: str = "AC" + "0" * 32

    async def incoming_call(self, call_sid: str, caller: str, called: str) -> Instruction:
        """Posts a call that comes in; returns what the TwiML says.

        Raises:
            UpstreamError: no answer, or a refusal.
            RemoteProtocolError: the answer is no TwiML that we know.
        """
        return read_twiml(
            await self.post(
                "/twilio/voice",
                {
                    "CallSid": call_sid,
                    "AccountSid": self.account_sid,
                    "From": caller,
                    "To": called,
                    "CallStatus": "ringing",
                    "ApiVersion": "2010-04-01",
                    "Direction": "inbound",
                },
            )
        )

    async def dial_ended(self, call_sid: str, status: str, sip_status: int = 0) -> Instruction:
        """Posts the end of a dial: completed, busy, no-answer, failed or canceled."""
        form = {"CallSid": call_sid, "AccountSid": self.account_sid, "DialCallStatus": status}
        if sip_status:
            form["DialSipResponseCode"] = str(sip_status)
        return read_twiml(await self.post("/twilio/dial-ended", form))

    async def post(self, path: str, form: dict[str, str]) -> str:
        """Posts a signed form; returns the body of the answer. Raises UpstreamError."""
        url = f"{self.webhook_url.rstrip('/')}{path}"
        signed = f"{(self.public_url or self.webhook_url).rstrip('/')}{path}"
        signature = RequestValidator(self.auth_token).compute_signature(signed, form)
        try:
            response = await self.http.post(
                url, data=form, headers={"X-Twilio-Signature": signature}, timeout=WEBHOOK_TIMEOUT_S
            )
        except httpx.TimeoutException as error:
            raise UpstreamTimeoutError("orchestrator", f"no answer to {path}") from error
        except httpx.InvalidURL as error:
            raise ConfigError(f"{url} is no address") from error
        except httpx.HTTPError as error:
            raise UpstreamUnavailableError("orchestrator", f"can't reach {url}") from error
        if response.status_code >= 500:
            raise UpstreamUnavailableError("orchestrator", f"{response.status_code} to {path}: {response.text[:200]}")
        if response.status_code >= 400:
            raise UpstreamRejectedError("orchestrator", f"{response.status_code} to {path}: {response.text[:200]}")
        return response.text


def read_twiml(text: str) -> Instruction:
    """What a TwiML document says first. Raises RemoteProtocolError where it is none, or says what we don't know."""
    if "<!" in text:
        raise RemoteProtocolError("TwiML with a document type")
    try:
        root = ET.fromstring(text)  # noqa: S314 (no entities: refused above)
    except ET.ParseError as error:
        raise RemoteProtocolError(f"no TwiML: {error}") from error
    if root.tag != "Response" or len(root) == 0:
        raise RemoteProtocolError("TwiML without a <Response> that says something")
    verb = root[0]
    if verb.tag == "Say":
        return Speak((verb.text or "").strip())
    if verb.tag in ("Hangup", "Reject"):
        return HangUp()
    sip = verb.find("Sip")
    if verb.tag != "Dial" or sip is None or not sip.text:
        raise RemoteProtocolError(f"TwiML that begins with <{verb.tag}>, which is not emulated")
    return DialSip(sip.text.strip(), sip.get("username", ""), sip.get("password", ""), verb.get("action", ""))
