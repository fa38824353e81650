// One call: who spoke when, and for each turn the words and a waterfall of its stages.

import { STAGES, duration, html, length, svg, words } from "./dom.js";

/** What stands in the place of one call. */
export function callView(call) {
  return [facts(call), call.recorded && call.result !== null ? player(call) : null, call.turns.length ? lanes(call) : null, turns(call)].filter(Boolean);
}

/** The call's sound: the caller on the left, the agent on the right. Only when it is over: until then this is drawn anew with each turn. */
function player(call) {
  return html("audio", { controls: "", preload: "none", "aria-label": "recording of this call", src: `/calls/${encodeURIComponent(call.call)}/recording` });
}

function facts(call) {
  const pairs = [
    ["worker", call.worker || "not known yet"],
    ["came by", call.kind ?? "–"],
    ["answered after", duration(call.answered_after_ms)],
    ["lasted", length(call.length_ms)],
  ];
  return html("div", { class: "facts" },
    html("p", {}, badge(call), " ", html("code", { class: "id" }, call.call)),
    html("dl", { class: "figures small" }, pairs.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))),
  );
}

/** How a call ended, as a word on a coloured ground; the colour repeats what the word says. */
export function badge(call) {
  if (call.result === null) return html("span", { class: "badge open" }, "end not told yet");
  const kind = { success: "good", caller_error: "caller", refused: "caller", indeterminate: "open" }[call.result] ?? "bad";
  const told = call.result === "success" ? words(call.reason) : `${words(call.result)}: ${words(call.reason)}`;
  return html("span", { class: `badge ${kind}` }, told);
}

/** Two lanes on one clock, to scale: what the caller said above, what the agent said below. */
function lanes(call) {
  const placed = call.turns.filter((turn) => turn.at_ms !== null);
  if (placed.length === 0) return null;
  const end = Math.max(...placed.map((turn) => turn.at_ms + Math.max(0, ...Object.values(turn.marks_ms))));
  const [width, left] = [1000, 0];
  const x = (ms) => left + (ms / Math.max(end, 1)) * (width - left);
  const picture = svg("svg", { viewBox: `0 0 ${width} 78`, preserveAspectRatio: "none", class: "lanes", "aria-hidden": "true" });
  picture.append(svg("rect", { class: "lane", x: left, y: 2, width, height: 30 }), svg("rect", { class: "lane", x: left, y: 44, width, height: 30 }));
  for (const turn of placed) {
    const at = (mark) => (mark in turn.marks_ms ? turn.at_ms + turn.marks_ms[mark] : null);
    const block = (from, to, y, kind, told) =>
      from !== null && to !== null && to > from &&
      picture.append(svg("rect", { class: kind, x: x(from), y, width: Math.max(x(to) - x(from), 2), height: 30 }, svg("title", {}, told)));
    block(turn.at_ms, at("SpeechEnd"), 2, "said", `caller: ${turn.understood}`);
    block(at("SpeechEnd"), at("PlaybackStart"), 44, "waited", `Response ${duration(turn.response_ms)}`);
    block(at("PlaybackStart"), at("PlaybackStop"), 44, "answered", `agent: ${turn.answer}`);
    if (turn.outcome === "interrupted" && at("BargeIn") !== null) {
      picture.append(svg("line", { class: "barge-in", x1: x(at("BargeIn")), x2: x(at("BargeIn")), y1: 0, y2: 78, "vector-effect": "non-scaling-stroke" }));
    }
  }
  const keys = [["said", "caller speaks"], ["waited", "Response"], ["answered", "agent speaks"], ["barge-in", "barge-in"]];
  return html("figure", { class: "lanes-figure" },
    html("div", { class: "lanes-row" }, html("span", { class: "lane-names", "aria-hidden": "true" }, html("span", {}, "caller"), html("span", {}, "agent")), picture),
    html("figcaption", {},
      html("span", { class: "keys" }, keys.map(([kind, name]) => html("span", { class: "key" }, html("i", { class: `swatch ${kind}` }), name))),
      html("span", {}, length(end), ", to scale"),
    ),
  );
}

function turns(call) {
  if (call.turns.length === 0) return html("p", { class: "empty" }, "Nobody said anything in this call, or no turn is over yet.");
  // One scale for all turns of a call, so that a longer bar is a longer wait.
  const longest = Math.max(1, ...call.turns.map((turn) => turn.roundtrip_ms ?? 0));
  return html("ol", { class: "turns" }, call.turns.map((turn) => turnView(turn, longest)));
}

function turnView(turn, longest) {
  const interrupted = turn.outcome === "interrupted";
  const quote = (who, text, none) => html("p", { class: `quote ${who}` }, html("b", {}, who), " ", text ? html("q", {}, text) : html("em", {}, none));
  const told = [
    turn.response_ms !== null && ["Response", duration(turn.response_ms)],
    turn.response_heard_ms !== null && ["at the ear", duration(turn.response_heard_ms)],
    turn.roundtrip_ms !== null && ["RoundTrip", duration(turn.roundtrip_ms)],
    turn.barge_in_ms !== null && ["silent after", duration(turn.barge_in_ms)],
  ].filter(Boolean);
  return html("li", { class: "turn" },
    html("div", { class: "turn-head" },
      html("h3", {}, `Turn ${turn.turn}`),
      interrupted && html("span", { class: "badge cut" }, "BargeIn" in turn.marks_ms ? "barge-in: the caller interrupted" : "cut off: the call ended"),
      turn.outcome === "unanswered" && html("span", { class: "badge bad" }, "unanswered"),
    ),
    quote("caller", turn.understood, "nothing was understood"),
    quote("agent", turn.answer, "no answer"),
    turn.heard !== turn.answer && interrupted && quote("heard", turn.heard, "nothing of it was heard"),
    told.length > 0 && html("dl", { class: "figures small" }, told.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))),
    turn.stages.length > 0 && waterfall(turn, longest),
  );
}

function waterfall(turn, longest) {
  const rows = turn.stages.map(({ stage, from_ms, ms }) => {
    const bar = html("i", { class: `bar stage-${stage}` });
    // By the style object, which the page's policy allows, unlike a style attribute.
    bar.style.left = `${(100 * from_ms) / longest}%`;
    bar.style.width = `${(100 * ms) / longest}%`;
    const { name, about } = STAGES[stage] ?? { name: stage, about: "" };
    return html("tr", { title: about },
      html("th", { scope: "row" }, name),
      html("td", { class: "track", "aria-hidden": "true" }, html("div", {}, bar)),
      html("td", { class: "ms" }, duration(ms)),
    );
  });
  return html("table", { class: "waterfall" }, html("caption", { class: "hidden" }, `Stages of turn ${turn.turn}`), html("tbody", {}, rows));
}
