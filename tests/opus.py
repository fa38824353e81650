"""libopus through ctypes, set as the media engine sets it; only for tests of what survives the codec."""

from __future__ import annotations

import ctypes
import ctypes.util
import random

import numpy as np
import pytest

from trunkline.core.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, Pcm

_VOIP = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS = 4002, 4010, 4012, 4014


def through_opus(speech: Pcm, bitrate: int, loss: float = 0.0, seed: int = 0) -> Pcm:
    """Encodes and decodes frames of 20 ms; lost ones are concealed."""
    name = ctypes.util.find_library("opus")
    if name is None:
        pytest.skip("libopus is not installed")
    lib = ctypes.CDLL(name)
    lib.opus_encoder_create.restype = lib.opus_decoder_create.restype = ctypes.c_void_p
    error = ctypes.c_int()
    encoder = ctypes.c_void_p(lib.opus_encoder_create(SAMPLE_RATE_HZ, 1, _VOIP, ctypes.byref(error)))
    decoder = ctypes.c_void_p(lib.opus_decoder_create(SAMPLE_RATE_HZ, 1, ctypes.byref(error)))
    for key, value in {_SET_BITRATE: bitrate, _SET_COMPLEXITY: 5, _SET_INBAND_FEC: 1, _SET_PACKET_LOSS: 10}.items():
        assert lib.opus_encoder_ctl(encoder, key, ctypes.c_int(value)) == 0
    lost = random.Random(seed)
    packet = ctypes.create_string_buffer(1500)
    out = (ctypes.c_int16 * FRAME_SAMPLES)()
    heard = []
    try:
        for start in range(0, speech.size - FRAME_SAMPLES + 1, FRAME_SAMPLES):
            frame = np.ascontiguousarray(speech[start : start + FRAME_SAMPLES])
            size = lib.opus_encode(encoder, frame.ctypes.data_as(ctypes.c_void_p), FRAME_SAMPLES, packet, 1500)
            gone = lost.random() < loss
            lib.opus_decode(decoder, None if gone else packet, 0 if gone else size, out, FRAME_SAMPLES, 0)
            heard.append(np.array(out, dtype=np.int16))
    finally:
        lib.opus_encoder_destroy(encoder)
        lib.opus_decoder_destroy(decoder)
    return np.concatenate(heard)
