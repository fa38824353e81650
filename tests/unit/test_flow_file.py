"""A flow is checked when it is read: every mistake has its line, and says what was expected there."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.agent.brains.flow import Branch, Case, ListenStep
from trunkline.agent.brains.flow_file import check_flow, load_flow
from trunkline.agent.brains.template import Template
from trunkline.core.errors import ConfigError

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[2] / "examples"

GOOD = """\
allow: [shop.example.com, "localhost:8099"]
variables:
  city: Berlin
timezone: Europe/Berlin
start: one
blocks:
  one:
    - say: "Hello {caller} in {city}"
    - listen:
        choices:
          - {words: [Opening hours!, When are you open], keys: 1, goto: two}
        keys: {most: 6, least: 2, end: "*", into: number}
        save: chosen
        give_up: two
    - http:
        method: post
        url: https://shop.example.com/{number}?city={city}
        headers: {X-City: "{city}"}
        json: {n: 3, sure: true, list: ["{city}", 1.5]}
        timeout: 2
        save: {price: "lines[0].price"}
        on_error: two
    - branch: {variable: price, cases: {"0..9.5": two, Free: two}, default: two}
  two:
    - set: {city: "{city} {price}"}
    - send_keys: "1A#"
    - transfer: "+15550100"
"""


def load(folder: Path, text: str) -> str:
    """The error that a text gives, without the folder."""
    path = folder / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_flow(path)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_flow_with_everything_in_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(GOOD)
    flow = load_flow(path)
    assert (flow.start, list(flow.blocks), flow.variables) == ("one", ["one", "two"], {"city": "Berlin"})
    _, listen, http, branch = flow.blocks["one"]
    assert isinstance(listen, ListenStep)
    assert listen.choices[0].phrases == ("opening hours", "when are you open")
    assert (listen.max_keys, listen.choices[0].keys, listen.silence_s) == (6, "1", 8.0)
    assert http.body == {"n": 3, "sure": True, "list": [Template("{city}"), 1.5]}  # type: ignore[union-attr]
    assert branch == Branch("price", (Case("two", "0..9.5", 0.0, 9.5), Case("two", "free")), "two")
    assert flow.phrases() == ["opening hours", "when are you open"]


@pytest.mark.parametrize("name", ["opening_hours.yaml", "order_status.yaml"])
def test_the_examples_are_good(name: str) -> None:
    assert "phrases" in check_flow(EXAMPLES / name)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("blocks:", "block:", "f.yaml:6: flow: 'block' is unknown (known: allow, variables, timezone, start, blocks)"),
        ("start: one", "start: three", "f.yaml:5: there is no block 'three' (there are: one, two)"),
        ("goto: two}", "goto: tow}", "f.yaml:11: there is no block 'tow'"),
        ("    - say:", "    - sya:", "f.yaml:8: 'sya' is no step (steps: say, listen, branch, set, http, transfer"),
        ("{caller} in", "{caller in", "f.yaml:8: say: a brace without its partner"),
        ("{caller} in", "{coller} in", "f.yaml:8: nothing sets the variable 'coller'"),
        ("in {city}", "in {city}}", "f.yaml:8: say: a brace without its partner"),
        ("most: 6", "most: 60", "f.yaml:12: most: expected 1 to 32, found 60"),
        ("most: 6", "most: six", "f.yaml:12: most: expected a number, found 'six'"),
        ("into: number}", "into: hour}", "f.yaml:12: the variable 'hour' is built in and can't be set"),
        ("into: number}", "into: Number}", "f.yaml:12: 'Number' can't be a variable's name"),
        ('end: "*"', "end: 0", "f.yaml:12: end: expected #, * or none, found '0'"),
        ("        give_up: two", "        tries: 2", "f.yaml:9: listen: 'give_up' is missing"),
        ("keys: 1,", "keys: 1x,", "f.yaml:11: keys: expected 0 to 9, * and #, found '1x'"),
        ("shop.example.com/", "evil.example.com/", "f.yaml:17: url: the host 'evil.example.com' is not allowed"),
        ("shop.example.com/", "{city}.example.com/", "f.yaml:17: url: the host can't be a variable"),
        ("https://shop", "ftp://shop", "f.yaml:17: url: expected http://HOST/… or https://HOST/…"),
        ("https://shop", "https://me@shop", "f.yaml:17: url: expected http://HOST/… or https://HOST/…"),
        (
            "https://shop.example.com/",
            "https://shop.example.com:8443/",
            "f.yaml:17: url: the host 'shop.example.com:8443'",
        ),
        ("method: post", "method: brew", "f.yaml:16: method: expected one of GET, POST"),
        ("timeout: 2", "timeout: 60", "f.yaml:20: timeout: expected 0.1 to 5, found 60"),
        ("lines[0].price", "lines[0.price", "f.yaml:21: 'lines[0.price' is no path"),
        ("0..9.5", "9..1", "f.yaml:23: cases: the range 9..1 is empty"),
        ("default: two}", "otherwise: two}", "f.yaml:23: branch: 'otherwise' is unknown"),
        ('"1A#"', '"1E#"', "f.yaml:26: send_keys: expected 0 to 9, *, # and A to D, found '1E#'"),
        ("+15550100", "5550100", "f.yaml:27: transfer: expected a number such as +15550100, found '5550100'"),
        ('    - transfer: "+15550100"\n', "", "f.yaml:26: block 'two' must not end here (end it with goto"),
        ('    - transfer: "+15550100"\n', "    - hangup: false\n", "f.yaml:27: hangup: expected true"),
        ('    - transfer: "+15550100"\n', "    - hang up\n", "f.yaml:27: expected a step, found 'hang up'"),
        ("    - send_keys:", "      goto:", "f.yaml:26: a step is one thing: 'set' or 'goto'"),
        ("  city: Berlin", "  city: Berlin\n  city: Rome", "f.yaml:4: variables: 'city' stands there twice"),
        ("  city: Berlin", "  city: [Berlin]", "f.yaml:3: city: expected text, found a list"),
        ("Europe/Berlin", "Europe/Atlantis", "f.yaml:4: 'Europe/Atlantis' is no time zone"),
        ("city: Berlin", "city: &a Berlin\n  other: *a", "f.yaml:4: aliases are not taken here"),
        ("city: Berlin", "city: 'Berlin", "no YAML"),
        ("  two:", "  two: []\n  three:", "f.yaml:24: two: expected a list, found an empty list"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GOOD
    assert problem in load(tmp_path, GOOD.replace(old, new, 1))


def test_two_choices_must_differ(tmp_path: Path) -> None:
    choice = "          - {words: [Opening hours!, When are you open], keys: 1, goto: two}\n"
    twice = GOOD.replace(choice, choice + "          - {words: opening hours, goto: two}\n")
    assert load(tmp_path, twice) == "f.yaml:12: two choices have 'opening hours'"


def test_a_listen_that_waits_for_nothing_is_a_mistake(tmp_path: Path) -> None:
    text = "blocks:\n  a:\n    - listen: {give_up: a}\n"
    assert load(tmp_path, text).startswith("f.yaml:3: listen: expected choices, keys or words_into")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "f.yaml:1: flow: found nothing"),
        (b"- a", "f.yaml:1: flow: expected names with values, found a list"),
        (b"\xff", "not UTF-8 text"),
        (b"a: [" * 5_000, "no YAML"),
        (b"# " + b"x" * 300_000, "larger than 256000 bytes"),
    ],
)
def test_what_is_no_flow_at_all(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_flow(path)
    assert problem in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_flow(tmp_path / "none.yaml")
