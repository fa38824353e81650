from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("leg", "join", "leave", "listen_to", "publish", "hide", "play", "end", "pause", "resume", "flush", "send_dtmf", "ask_stats", "send_data", "impair")
    LEG_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_TO_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    HIDE_FIELD_NUMBER: _ClassVar[int]
    PLAY_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    SEND_DTMF_FIELD_NUMBER: _ClassVar[int]
    ASK_STATS_FIELD_NUMBER: _ClassVar[int]
    SEND_DATA_FIELD_NUMBER: _ClassVar[int]
    IMPAIR_FIELD_NUMBER: _ClassVar[int]
    leg: int
    join: Join
    leave: Leave
    listen_to: ListenTo
    publish: Publish
    hide: Hide
    play: Play
    end: End
    pause: Pause
    resume: Resume
    flush: Flush
    send_dtmf: SendDtmf
    ask_stats: AskStats
    send_data: SendData
    impair: Impair
    def __init__(self, leg: _Optional[int] = ..., join: _Optional[_Union[Join, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ..., listen_to: _Optional[_Union[ListenTo, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ..., hide: _Optional[_Union[Hide, _Mapping]] = ..., play: _Optional[_Union[Play, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., flush: _Optional[_Union[Flush, _Mapping]] = ..., send_dtmf: _Optional[_Union[SendDtmf, _Mapping]] = ..., ask_stats: _Optional[_Union[AskStats, _Mapping]] = ..., send_data: _Optional[_Union[SendData, _Mapping]] = ..., impair: _Optional[_Union[Impair, _Mapping]] = ...) -> None: ...

class Join(_message.Message):
    __slots__ = ("url", "token", "shared")
    URL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    url: str
    token: str
    shared: bool
    def __init__(self, url: _Optional[str] = ..., token: _Optional[str] = ..., shared: bool = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListenTo(_message.Message):
    __slots__ = ("identity",)
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    identity: str
    def __init__(self, identity: _Optional[str] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Hide(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Play(_message.Message):
    __slots__ = ("utterance", "pcm")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    PCM_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    pcm: bytes
    def __init__(self, utterance: _Optional[int] = ..., pcm: _Optional[bytes] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("utterance",)
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    def __init__(self, utterance: _Optional[int] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Resume(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Flush(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendDtmf(_message.Message):
    __slots__ = ("digits",)
    DIGITS_FIELD_NUMBER: _ClassVar[int]
    digits: str
    def __init__(self, digits: _Optional[str] = ...) -> None: ...

class SendData(_message.Message):
    __slots__ = ("payload", "topic")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    topic: str
    def __init__(self, payload: _Optional[bytes] = ..., topic: _Optional[str] = ...) -> None: ...

class Impair(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: str
    def __init__(self, config: _Optional[str] = ...) -> None: ...

class AskStats(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Report(_message.Message):
    __slots__ = ("frames", "event")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    frames: Frames
    event: Event
    def __init__(self, frames: _Optional[_Union[Frames, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Frames(_message.Message):
    __slots__ = ("at_us", "frames")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, at_us: _Optional[int] = ..., frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("leg", "sequence", "level_dbov", "concealed", "pcm")
    LEG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_DBOV_FIELD_NUMBER: _ClassVar[int]
    CONCEALED_FIELD_NUMBER: _ClassVar[int]
    PCM_FIELD_NUMBER: _ClassVar[int]
    leg: int
    sequence: int
    level_dbov: int
    concealed: bool
    pcm: bytes
    def __init__(self, leg: _Optional[int] = ..., sequence: _Optional[int] = ..., level_dbov: _Optional[int] = ..., concealed: bool = ..., pcm: _Optional[bytes] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("leg", "at_us", "ready", "joined", "left", "published", "participant_joined", "participant_left", "track_heard", "dtmf", "first_packet", "last_packet", "halted", "ran_dry", "reconnecting", "reconnected", "disconnected", "refused", "stats", "data", "muted", "listening")
    LEG_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_JOINED_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_LEFT_FIELD_NUMBER: _ClassVar[int]
    TRACK_HEARD_FIELD_NUMBER: _ClassVar[int]
    DTMF_FIELD_NUMBER: _ClassVar[int]
    FIRST_PACKET_FIELD_NUMBER: _ClassVar[int]
    LAST_PACKET_FIELD_NUMBER: _ClassVar[int]
    HALTED_FIELD_NUMBER: _ClassVar[int]
    RAN_DRY_FIELD_NUMBER: _ClassVar[int]
    RECONNECTING_FIELD_NUMBER: _ClassVar[int]
    RECONNECTED_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MUTED_FIELD_NUMBER: _ClassVar[int]
    LISTENING_FIELD_NUMBER: _ClassVar[int]
    leg: int
    at_us: int
    ready: Ready
    joined: Joined
    left: Left
    published: Published
    participant_joined: ParticipantJoined
    participant_left: ParticipantLeft
    track_heard: TrackHeard
    dtmf: Dtmf
    first_packet: FirstPacket
    last_packet: LastPacket
    halted: Halted
    ran_dry: RanDry
    reconnecting: Reconnecting
    reconnected: Reconnected
    disconnected: Disconnected
    refused: Refused
    stats: Stats
    data: Data
    muted: Muted
    listening: Listening
    def __init__(self, leg: _Optional[int] = ..., at_us: _Optional[int] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., joined: _Optional[_Union[Joined, _Mapping]] = ..., left: _Optional[_Union[Left, _Mapping]] = ..., published: _Optional[_Union[Published, _Mapping]] = ..., participant_joined: _Optional[_Union[ParticipantJoined, _Mapping]] = ..., participant_left: _Optional[_Union[ParticipantLeft, _Mapping]] = ..., track_heard: _Optional[_Union[TrackHeard, _Mapping]] = ..., dtmf: _Optional[_Union[Dtmf, _Mapping]] = ..., first_packet: _Optional[_Union[FirstPacket, _Mapping]] = ..., last_packet: _Optional[_Union[LastPacket, _Mapping]] = ..., halted: _Optional[_Union[Halted, _Mapping]] = ..., ran_dry: _Optional[_Union[RanDry, _Mapping]] = ..., reconnecting: _Optional[_Union[Reconnecting, _Mapping]] = ..., reconnected: _Optional[_Union[Reconnected, _Mapping]] = ..., disconnected: _Optional[_Union[Disconnected, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ..., data: _Optional[_Union[Data, _Mapping]] = ..., muted: _Optional[_Union[Muted, _Mapping]] = ..., listening: _Optional[_Union[Listening, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    def __init__(self, version: _Optional[str] = ...) -> None: ...

class Joined(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Left(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: Stats
    def __init__(self, stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ParticipantJoined(_message.Message):
    __slots__ = ("identity", "kind", "attributes")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WEBRTC: _ClassVar[ParticipantJoined.Kind]
        PHONE: _ClassVar[ParticipantJoined.Kind]
        AGENT: _ClassVar[ParticipantJoined.Kind]
    WEBRTC: ParticipantJoined.Kind
    PHONE: ParticipantJoined.Kind
    AGENT: ParticipantJoined.Kind
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    identity: str
    kind: ParticipantJoined.Kind
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, identity: _Optional[str] = ..., kind: _Optional[_Union[ParticipantJoined.Kind, str]] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ParticipantLeft(_message.Message):
    __slots__ = ("identity",)
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    identity: str
    def __init__(self, identity: _Optional[str] = ...) -> None: ...

class TrackHeard(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Listening(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Dtmf(_message.Message):
    __slots__ = ("digit",)
    DIGIT_FIELD_NUMBER: _ClassVar[int]
    digit: str
    def __init__(self, digit: _Optional[str] = ...) -> None: ...

class Data(_message.Message):
    __slots__ = ("payload", "topic")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    topic: str
    def __init__(self, payload: _Optional[bytes] = ..., topic: _Optional[str] = ...) -> None: ...

class Muted(_message.Message):
    __slots__ = ("muted",)
    MUTED_FIELD_NUMBER: _ClassVar[int]
    muted: bool
    def __init__(self, muted: bool = ...) -> None: ...

class FirstPacket(_message.Message):
    __slots__ = ("utterance",)
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    def __init__(self, utterance: _Optional[int] = ...) -> None: ...

class LastPacket(_message.Message):
    __slots__ = ("utterance", "samples")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    samples: int
    def __init__(self, utterance: _Optional[int] = ..., samples: _Optional[int] = ...) -> None: ...

class Halted(_message.Message):
    __slots__ = ("utterance", "samples")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    samples: int
    def __init__(self, utterance: _Optional[int] = ..., samples: _Optional[int] = ...) -> None: ...

class RanDry(_message.Message):
    __slots__ = ("utterance",)
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    def __init__(self, utterance: _Optional[int] = ...) -> None: ...

class Reconnecting(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Reconnected(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Disconnected(_message.Message):
    __slots__ = ("reason", "detail", "by_server", "stats")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BY_SERVER_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    by_server: bool
    stats: Stats
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ..., by_server: bool = ..., stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("received", "lost", "late", "duplicate", "concealed", "fec_used", "sent", "late_ticks", "dropped_ticks", "target_ms", "legs", "ran_dry", "malformed", "refused")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    CONCEALED_FIELD_NUMBER: _ClassVar[int]
    FEC_USED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    LATE_TICKS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TICKS_FIELD_NUMBER: _ClassVar[int]
    TARGET_MS_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    RAN_DRY_FIELD_NUMBER: _ClassVar[int]
    MALFORMED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    received: int
    lost: int
    late: int
    duplicate: int
    concealed: int
    fec_used: int
    sent: int
    late_ticks: int
    dropped_ticks: int
    target_ms: int
    legs: int
    ran_dry: int
    malformed: int
    refused: int
    def __init__(self, received: _Optional[int] = ..., lost: _Optional[int] = ..., late: _Optional[int] = ..., duplicate: _Optional[int] = ..., concealed: _Optional[int] = ..., fec_used: _Optional[int] = ..., sent: _Optional[int] = ..., late_ticks: _Optional[int] = ..., dropped_ticks: _Optional[int] = ..., target_ms: _Optional[int] = ..., legs: _Optional[int] = ..., ran_dry: _Optional[int] = ..., malformed: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...
