"""Reads a flow from YAML and checks all of it: shapes, names, templates, hosts, and that every block leads somewhere.

Every mistake is a ConfigError with the file, the line, and what was expected there. The format: docs/brains.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trunkline.agent.brains.flow import (
    BUILT_IN,
    Branch,
    Case,
    Choice,
    Flow,
    Goto,
    HangUpStep,
    Http,
    KeysWanted,
    ListenStep,
    Say,
    SendKeys,
    Set,
    Step,
    TransferStep,
)
from trunkline.agent.brains.http_file import read_http_request
from trunkline.agent.brains.template import NAME, Template, TemplateError, clean
from trunkline.agent.brains.yaml_reader import Reader, read_yaml
from trunkline.core.errors import ConfigError

MAX_KEYS = 32
MAX_TRIES = 10
NUMBER = re.compile(r"\+[1-9][0-9]{4,14}")

_KEYS = re.compile(r"[0-9*#]+")
_DIGITS = re.compile(r"[0-9*#A-D]{1,32}")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)")
_NO_WORD = re.compile(r"[^\w\s']+")


def load_flow(path: Path) -> Flow:
    """Reads and checks a flow. Raises ConfigError."""
    top = read_yaml(path, "flow")
    found = top.fields(("allow", "variables", "timezone", "start", "blocks"), ("blocks",))
    return _FlowFile(found).flow()


def normal(words: str) -> str:
    """Words as they are compared: lower case, single blanks, no punctuation."""
    return " ".join(_NO_WORD.sub(" ", words.lower()).split())


class _FlowFile:
    """The reading of one file: what is named, and where, is checked when all of it is known."""

    def __init__(self, found: dict[str, Reader]) -> None:
        self._found = found
        self._hosts = [each.text().lower() for each in found["allow"].items("host")] if "allow" in found else []
        self._variables: dict[str, str] = {}
        self._known = set(BUILT_IN)
        self._named: list[tuple[Reader, str]] = []
        self._used: list[tuple[Reader, str]] = []
        self._steps: dict[str, Callable[[Reader], Step]] = {
            "say": lambda value: Say(self._template(value)),
            "listen": self._listen,
            "branch": self._branch,
            "set": self._set,
            "http": self._http,
            "transfer": self._transfer,
            "send_keys": self._send_keys,
            "goto": lambda value: Goto(self._block(value)),
            "hangup": self._hangup,
        }

    def flow(self) -> Flow:
        found = self._found
        if "variables" in found:
            for name, value in found["variables"].pairs().items():
                self._variables[self._new_name(value, name)] = clean(value.text())
        blocks_read = found["blocks"].pairs()
        blocks = {name: self._steps_of(value) for name, value in blocks_read.items()}
        start = self._block(found["start"]) if "start" in found else next(iter(blocks))
        for where, name in self._named:
            if name not in blocks:
                where.fail(f"there is no block {name!r}", f"there are: {', '.join(blocks)}")
        for where, name in self._used:
            if name not in self._known:
                where.fail(f"nothing sets the variable {name!r}", f"known: {', '.join(sorted(self._known))}")
        for name, value in blocks_read.items():
            if not _leads_on(blocks[name][-1]):
                value.items("step")[-1].fail(
                    f"block {name!r} must not end here", "end it with goto, hangup, transfer, or branch with default"
                )
        return Flow(start, blocks, self._variables, self._timezone())

    def _timezone(self) -> str:
        if "timezone" not in self._found:
            return ""
        name = self._found["timezone"].text()
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError):
            self._found["timezone"].fail(f"{name!r} is no time zone", "such as Europe/Berlin")

    def _steps_of(self, block: Reader) -> tuple[Step, ...]:
        return tuple(self._step(each) for each in block.items("step"))

    def _step(self, step: Reader) -> Step:
        if step.is_text and step.text() == "hangup":
            return HangUpStep()
        if not step.is_map:
            step.fail(f"expected a step, found {step.text()!r}" if step.is_text else "expected a step, found a list")
        pairs = step.pairs()
        (name, value), *more = pairs.items()
        if name not in self._steps:
            step.fail(f"{name!r} is no step", f"steps: {', '.join(self._steps)}")
        if more:
            more[0][1].fail(f"a step is one thing: {name!r} or {more[0][0]!r}", "begin the next one with a dash")
        return self._steps[name](value)

    def _hangup(self, value: Reader) -> Step:
        if not value.flag():
            value.fail("hangup: expected true")
        return HangUpStep()

    def _listen(self, value: Reader) -> Step:
        known = ("choices", "keys", "words_into", "save", "silence", "key_gap", "keys_interrupt")
        fields = value.fields((*known, "no_input", "no_match", "tries", "give_up"), ("give_up",))
        choices = tuple(self._choice(each) for each in fields["choices"].items("choice")) if "choices" in fields else ()
        self._check_unlike(fields, choices)
        keys = self._keys_wanted(fields["keys"]) if "keys" in fields else None
        words_into = self._new_name(fields["words_into"]) if "words_into" in fields else ""
        if not (choices or keys or words_into):
            value.fail("listen: expected choices, keys or words_into", "there is nothing to listen for")
        return ListenStep(
            choices=choices,
            keys=keys,
            words_into=words_into,
            save=self._new_name(fields["save"]) if "save" in fields else "",
            silence_s=fields["silence"].number(1, 120) if "silence" in fields else 8.0,
            key_gap_s=fields["key_gap"].number(0.5, 30) if "key_gap" in fields else 3.0,
            keys_interrupt=fields["keys_interrupt"].flag() if "keys_interrupt" in fields else True,
            no_input=self._template(fields["no_input"]) if "no_input" in fields else None,
            no_match=self._template(fields["no_match"]) if "no_match" in fields else None,
            tries=round(fields["tries"].number(1, MAX_TRIES)) if "tries" in fields else 3,
            give_up=self._block(fields["give_up"]),
        )

    def _choice(self, value: Reader) -> Choice:
        fields = value.fields(("words", "keys", "name", "goto"))
        written = fields["words"].texts("phrase") if "words" in fields else []
        phrases = tuple(normal(each) for each in written)
        keys = fields["keys"].text() if "keys" in fields else ""
        if not all(phrases) or not (phrases or keys):
            value.fail("choice: expected words, keys, or both")
        if keys and (not _KEYS.fullmatch(keys) or len(keys) > MAX_KEYS):
            fields["keys"].fail(f"keys: expected 0 to 9, * and #, found {keys!r}")
        name = fields["name"].text(100) if "name" in fields else (written[0] if written else keys)
        return Choice(name, phrases, keys, self._block(fields["goto"]) if "goto" in fields else "")

    def _check_unlike(self, fields: dict[str, Reader], choices: tuple[Choice, ...]) -> None:
        seen: set[str] = set()
        for number, choice in enumerate(choices):
            for each in {*choice.phrases, choice.keys} - {""}:
                if each in seen:
                    fields["choices"].items("choice")[number].fail(f"two choices have {each!r}")
                seen.add(each)

    def _keys_wanted(self, value: Reader) -> KeysWanted:
        fields = value.fields(("most", "least", "end", "into"), ("most", "into"))
        most = round(fields["most"].number(1, MAX_KEYS))
        end = fields["end"].text() if "end" in fields else "#"
        if end not in ("#", "*", "none"):
            fields["end"].fail(f"end: expected #, * or none, found {end!r}")
        least = round(fields["least"].number(1, most)) if "least" in fields else 1
        return KeysWanted(most, self._new_name(fields["into"]), least, "" if end == "none" else end)

    def _branch(self, value: Reader) -> Step:
        fields = value.fields(("variable", "cases", "default"), ("variable", "cases", "default"))
        variable = fields["variable"].text()
        self._used.append((fields["variable"], variable))
        cases = tuple(self._case(text, goto) for text, goto in fields["cases"].pairs().items())
        return Branch(variable, cases, self._block(fields["default"]))

    def _case(self, text: str, goto: Reader) -> Case:
        if (found := _RANGE.fullmatch(text)) is None:
            return Case(self._block(goto), text.lower())
        least, most = float(found[1]), float(found[2])
        if least > most:
            goto.fail(f"cases: the range {text} is empty")
        return Case(self._block(goto), text, least, most)

    def _set(self, value: Reader) -> Step:
        pairs = value.pairs()
        return Set(tuple((self._new_name(each, name), self._template(each)) for name, each in pairs.items()))

    def _http(self, value: Reader) -> Step:
        fields = value.fields(("method", "url", "headers", "json", "timeout", "save", "on_error"), ("url", "on_error"))
        request = read_http_request(fields, self._hosts, self._template)
        save = fields["save"].pairs() if "save" in fields else {}
        paths = tuple((self._new_name(path, name), request.checked_path(path)) for name, path in save.items())
        return Http(
            request.method,
            request.url,
            paths,
            self._block(fields["on_error"]),
            request.headers,
            request.body,
            request.timeout_s,
        )

    def _transfer(self, value: Reader) -> Step:
        fields = {"to": value} if value.is_text else value.fields(("to", "on_error"), ("to",))
        number = self._template(fields["to"])
        if not number.names() and not NUMBER.fullmatch(number.text):
            fields["to"].fail(f"transfer: expected a number such as +15550100, found {number.text!r}")
        return TransferStep(number, self._block(fields["on_error"]) if "on_error" in fields else "")

    def _send_keys(self, value: Reader) -> Step:
        digits = value.text()
        if not _DIGITS.fullmatch(digits):
            value.fail(f"send_keys: expected 0 to 9, *, # and A to D, found {digits!r}")
        return SendKeys(digits)

    def _template(self, value: Reader) -> Template:
        try:
            template = Template(value.text())
        except TemplateError as error:
            value.fail(f"{value.what}: {error}")
        self._used += [(value, name) for name in template.names()]
        return template

    def _block(self, value: Reader) -> str:
        name = value.text(100)
        self._named.append((value, name))
        return name

    def _new_name(self, value: Reader, name: str = "") -> str:
        """The name of a variable that is set here."""
        name = name or value.text(100)
        if not NAME.fullmatch(name):
            value.fail(f"{name!r} can't be a variable's name", "a to z, 0 to 9 and _, beginning with a letter")
        if name in BUILT_IN:
            value.fail(f"the variable {name!r} is built in and can't be set")
        self._known.add(name)
        return name


def _leads_on(step: Step) -> bool:
    """True for a step after which nothing in its block is needed."""
    if isinstance(step, ListenStep):
        free = step.keys is not None or step.words_into
        return not free and all(choice.goto for choice in step.choices)
    return isinstance(step, Goto | HangUpStep | TransferStep | Branch)


def check_flow(path: Path) -> str:
    """Reads a flow and tells in one line what is in it. Raises ConfigError."""
    flow = load_flow(path)
    steps = sum(len(each) for each in flow.blocks.values())
    if not flow.blocks:
        raise ConfigError(f"{path}: no block")
    return f"{len(flow.blocks)} blocks, {steps} steps, {len(flow.phrases())} phrases"
