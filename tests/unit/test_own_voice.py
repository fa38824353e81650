"""The agent's own voice, told from others: made-up voices, echoes and lines."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.core.own_voice import (
    _COMPARED,
    _LATEST,
    _LONGEST,
    COMPARED_S,
    ECHO_SHARE,
    HELD_S,
    LATEST_S,
    OwnVoice,
)
from trunkline.core.units import Pcm, s_to_samples

pytestmark = pytest.mark.unit

NEEDED = s_to_samples(COMPARED_S)


def voice(seed: int, length_s: float = 3.0) -> Pcm:
    """Noise through a few moving resonances, in syllables: as little periodic as speech is on the whole."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, s_to_samples(length_s))
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(noise.size, 1 / 16_000)
    spectrum *= sum(np.exp(-(((hz - peak) / 150) ** 2)) for peak in random.uniform(300, 2500, 3))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(noise.size) / 16_000)
    sound = np.fft.irfft(spectrum, noise.size) * syllables
    return (3_000 * sound / np.sqrt(np.mean(sound**2))).astype(np.int16)


def returned(samples: Pcm, late_s: float, level_db: float, reflections: bool = True) -> np.ndarray:
    """An echo of what plays from 10.0 s on, as heard from 10.0 s on."""
    response = np.zeros(64)
    response[[0, 20, 55]] = (1.0, 0.4, -0.3) if reflections else (1.0, 0.0, 0.0)
    echo = np.convolve(samples.astype(float), response) * 10 ** (level_db / 20)
    return np.concatenate([np.zeros(s_to_samples(late_s)), echo])


def playing(samples: Pcm) -> OwnVoice:
    own = OwnVoice()
    own.queue(samples, 9.9)
    own.started(10.0)
    return own


def share(own: OwnVoice, heard: np.ndarray, at: float) -> float:
    end = s_to_samples(at - 10.0)
    assert own.could_return(at)
    return own.share(heard[end - NEEDED : end].astype(np.int16), at)


@pytest.mark.parametrize("late_s", [0.05, 0.12, 0.25, 0.35])
@pytest.mark.parametrize("level_db", [-15.0, -40.0])
def test_an_echo_is_explained_however_late_and_quiet(late_s: float, level_db: float) -> None:
    spoken = voice(1)
    assert share(playing(spoken), returned(spoken, late_s, level_db), 11.5) > 0.9


def test_somebody_else_is_not() -> None:
    own = playing(voice(1))
    assert max(share(own, voice(2).astype(float), at) for at in np.arange(11.0, 12.5, 0.1)) < ECHO_SHARE


def test_somebody_who_speaks_over_the_echo_is_not() -> None:
    spoken = voice(1)
    both = returned(spoken, 0.1, -15.0)[:48_000] + voice(2).astype(float)
    assert share(playing(spoken), both, 11.5) < ECHO_SHARE


def test_what_is_as_loud_as_the_agent_is_none_though_it_sounds_the_same() -> None:
    spoken = voice(1)
    assert share(playing(spoken), returned(spoken, 0.1, -1.0), 11.5) == 0.0


def test_silence_is_no_echo() -> None:
    assert share(playing(voice(1)), np.zeros(48_000), 11.5) == 0.0


def test_what_is_heard_before_anything_was_played_needs_no_question() -> None:
    own = OwnVoice()
    assert not own.could_return(5.0)
    assert not own.is_echo(voice(1)[:NEEDED], 5.0)
    own.queue(voice(1), 9.9)
    assert not own.could_return(10.0)


def test_it_can_come_back_for_a_while_after_it_has_ended() -> None:
    own = playing(voice(1, 1.0))
    assert own.could_return(11.0 + LATEST_S)
    assert not own.could_return(11.1 + LATEST_S + COMPARED_S)


def test_what_was_never_played_does_not_come_back() -> None:
    spoken = voice(1)
    own = playing(spoken)
    assert own.could_return(10.5)
    own.dropped(10.5)
    assert share(own, returned(spoken, 0.1, -15.0), 10.55) > 0.9
    assert share(own, returned(spoken, 0.1, -15.0), 11.0) < ECHO_SHARE
    assert not own.could_return(11.3)


def test_after_a_pause_it_goes_on_where_it_stopped() -> None:
    spoken = voice(1)
    own = playing(spoken)
    own.halted(10.5)
    assert not own.could_return(11.5)
    own.started(12.0)
    heard = returned(spoken[s_to_samples(0.5) :], 0.1, -20.0)
    end = s_to_samples(0.8)
    assert own.could_return(12.8)
    assert own.share(heard[end - NEEDED : end].astype(np.int16), 12.8) > 0.9


def test_speech_that_came_too_late_plays_when_it_comes() -> None:
    spoken = voice(1)
    own = OwnVoice()
    own.queue(spoken[:8_000], 9.9)
    own.started(10.0)
    own.could_return(11.0)
    own.queue(spoken[8_000:], 11.0)
    heard = returned(spoken[8_000:], 0.1, -20.0)
    assert own.could_return(11.8)
    assert own.share(heard[s_to_samples(0.8) - NEEDED : s_to_samples(0.8)].astype(np.int16), 11.8) > 0.9


class TestVerdict:
    """What is made of the share."""

    def test_it_holds_over_a_click(self) -> None:
        spoken = voice(1)
        own = playing(spoken)
        heard = returned(spoken, 0.1, -15.0)
        end = s_to_samples(1.5)
        assert own.is_echo(heard[end - NEEDED : end].astype(np.int16), 11.5)
        quiet = np.zeros(NEEDED, dtype=np.int16)
        assert own.is_echo(quiet, 11.5 + HELD_S - 0.01)
        assert not own.is_echo(quiet, 11.5 + HELD_S + 0.01)

    def test_it_does_not_hold_where_somebody_begins_to_speak(self) -> None:
        spoken = voice(1)
        own = playing(spoken)
        heard = returned(spoken, 0.1, -15.0)
        end = s_to_samples(1.5)
        assert own.is_echo(heard[end - NEEDED : end].astype(np.int16), 11.5)
        assert not own.is_echo(voice(2)[:NEEDED], 11.55)


def test_what_can_not_come_back_any_more_is_forgotten() -> None:
    own = OwnVoice()
    own.started(10.0)
    for second in range(60):
        own.queue(voice(1, 1.0), 10.0 + second)
        own.could_return(10.0 + second)
    assert len(own._sent) < 5
    assert len(own._block_at) < 5 * 50


@pytest.mark.parametrize("seed", range(8))
def test_the_quick_bound_is_never_below_what_an_echo_could_have(seed: int) -> None:
    """Pieces of any length, pauses and halts: whoever is louder than the bound allows is louder than any stretch."""
    random = np.random.default_rng(seed)
    own, now = OwnVoice(), 10.0
    for _ in range(40):
        own.queue(voice(int(random.integers(9)), float(random.uniform(0.005, 0.4))), now)
        if random.random() < 0.3:
            own.halted(now)
        elif random.random() < 0.5:
            own.started(now)
        now += float(random.uniform(0.0, 0.2))
        own.could_return(now)
        since = now - LATEST_S - COMPARED_S
        played = own._played(since, _COMPARED + _LATEST)
        sums = np.concatenate([[0.0], np.cumsum(played * played)])
        assert own._most_energy(since, now) >= float((sums[_LONGEST:] - sums[:-_LONGEST]).max()) * (1 - 1e-9)
