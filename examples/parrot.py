"""A brain of one's own: `BRAIN=examples.parrot:Parrot`, or `BRAIN=parrot:Parrot` in this folder."""

from trunkline.agent.brains.brain import Answer, Brain, Call, HangUp, Listen


class Parrot(Brain):
    """Repeats words and keys, and counts how often it was interrupted."""

    async def greet(self, call: Call) -> Answer:
        yield Listen(max_keys=4, end_key="#", silence_s=10)
        yield "Hello, I am a parrot."

    async def reply(self, call: Call, words: str) -> Answer:
        if words == "goodbye":
            cut_short = sum(turn.interrupted for turn in call.history)
            yield f"Goodbye. You interrupted me {cut_short} times."
            yield HangUp()
        else:
            yield f"{words}, {words}!"

    async def on_keys(self, call: Call, keys: str) -> Answer:
        yield f"You pressed {' '.join(keys)}."
