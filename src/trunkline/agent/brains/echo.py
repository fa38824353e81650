"""BRAIN=echo: says back what it understood."""

from __future__ import annotations

from trunkline.agent.brains.brain import Answer, Brain, Call, only

NOT_UNDERSTOOD = "Sorry, I did not understand that."


class EchoBrain(Brain):
    """The brief's minimal logic."""

    def reply(self, call: Call, words: str) -> Answer:
        """One sentence pair, at once."""
        return only(f"You said: {words}. Nice!" if words else NOT_UNDERSTOOD)
