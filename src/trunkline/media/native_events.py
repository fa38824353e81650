"""What the engine program tells, in the words of `media/engine.py`."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.core.units import us_to_s
from trunkline.media.engine import (
    CallerMuted,
    DataReceived,
    DtmfReceived,
    FirstPacket,
    Halted,
    LastPacket,
    Listening,
    MediaEvent,
    MediaStats,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    RanDry,
    Reconnected,
    Reconnecting,
    TrackHeard,
)
from trunkline.media.pb import media_pb2 as pb

_KINDS = {
    pb.ParticipantJoined.PHONE: ParticipantKind.PHONE,
    pb.ParticipantJoined.AGENT: ParticipantKind.AGENT,
    pb.ParticipantJoined.WEBRTC: ParticipantKind.WEBRTC,
}


def translated(event: pb.Event) -> MediaEvent | None:
    """An event as sessions know it; None for those that only the engine's own side cares about."""
    translate = _TRANSLATIONS.get(event.WhichOneof("what") or "")
    return translate(event) if translate is not None else None


def counted(stats: pb.Stats) -> MediaStats:
    """What the engine counted."""
    return MediaStats(**{name: getattr(stats, name) for name in MediaStats.__slots__})


def _participant(event: pb.Event) -> ParticipantJoined:
    joined = event.participant_joined
    kind = _KINDS.get(joined.kind, ParticipantKind.WEBRTC)
    return ParticipantJoined(joined.identity, kind, dict(joined.attributes))


_TRANSLATIONS: dict[str, Callable[[pb.Event], MediaEvent]] = {
    "participant_joined": _participant,
    "participant_left": lambda event: ParticipantLeft(event.participant_left.identity),
    "first_packet": lambda event: FirstPacket(event.first_packet.utterance, us_to_s(event.at_us)),
    "last_packet": lambda event: LastPacket(
        event.last_packet.utterance, us_to_s(event.at_us), event.last_packet.samples
    ),
    "halted": lambda event: Halted(event.halted.utterance, us_to_s(event.at_us), event.halted.samples),
    "ran_dry": lambda event: RanDry(event.ran_dry.utterance, us_to_s(event.at_us)),
    "track_heard": lambda _event: TrackHeard(),
    "listening": lambda _event: Listening(),
    "dtmf": lambda event: DtmfReceived(event.dtmf.digit),
    "data": lambda event: DataReceived(event.data.payload, event.data.topic),
    "muted": lambda event: CallerMuted(event.muted.muted),
    "reconnecting": lambda _event: Reconnecting(),
    "reconnected": lambda _event: Reconnected(),
}
