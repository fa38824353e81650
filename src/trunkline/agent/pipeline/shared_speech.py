"""What the calls of a worker share about their providers: breakers, usual delays, fixed prompts.

Made once by the worker; gives each call its ear and its voice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline.agent.pipeline.extras import Wanted, wanted_stt, wanted_tts
from trunkline.agent.pipeline.hearing_stage import HearingStage, Recognizing
from trunkline.agent.pipeline.prompts import Prompts
from trunkline.agent.pipeline.providers import stt_row, tts_row
from trunkline.agent.pipeline.speaking_stage import Speaking, SpeakingStage
from trunkline.core.breaker import Breaker
from trunkline.core.hearing import Ear
from trunkline.core.usual_delay import UsualDelay
from trunkline.settings import Settings


@dataclass(frozen=True, slots=True)
class _Usual:
    """What the calls know together of one voice."""

    breaker: Breaker = field(default_factory=Breaker)
    first: UsualDelay = field(default_factory=lambda: UsualDelay(first_s=0.8, least_s=0.2, most_s=2.0))
    gap: UsualDelay = field(default_factory=lambda: UsualDelay(first_s=0.25, least_s=0.12, most_s=0.5))


class SharedSpeech:
    """The providers of a worker.

    Args:
        settings: Names them.

    Raises:
        ConfigError: a provider is unknown, or what it needs is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self.prompts = Prompts(settings)
        self._ears = [(wanted, stt_row(wanted), _ear()) for wanted in wanted_stt(settings)]
        self._voices = [(wanted, tts_row(wanted), _Usual()) for wanted in wanted_tts(settings)]
        for wanted, row, _ in (*self._ears, *self._voices):
            row.check(wanted)

    def ear(self) -> HearingStage:
        """What hears one call."""
        return HearingStage(
            [Recognizing(_label(wanted), row, row.make(wanted), ear) for wanted, row, ear in self._ears]
        )

    @property
    def flows(self) -> bool:
        """Whether every recognizer bears sound that is taken back, and gives final words in a pause."""
        return all(row.flows for _, row, _ in self._ears)

    def voice(self) -> SpeakingStage:
        """What speaks in one call."""
        voices = [
            Speaking(_label(wanted), row, row.make(wanted), known.breaker, known.first, known.gap)
            for wanted, row, known in self._voices
        ]
        return SpeakingStage(voices, self.prompts)

    def states(self) -> dict[str, str]:
        """Each provider's breaker, by name."""
        ears = {_label(wanted): str(ear.breaker.state) for wanted, _, ear in self._ears}
        return ears | {_label(wanted): str(known.breaker.state) for wanted, _, known in self._voices}


def _label(wanted: Wanted) -> str:
    return f"{wanted.kind.lower()}:{wanted.name}"


def _ear() -> Ear:
    return Ear(
        Breaker(),
        first=UsualDelay(first_s=1.2, least_s=0.2, most_s=1.5),
        final=UsualDelay(first_s=0.6, least_s=0.15, most_s=1.5),
    )
