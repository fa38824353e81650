"""trunkline answers phone calls with a voice agent, on LiveKit and Pipecat."""

__version__ = "0.1.0"
