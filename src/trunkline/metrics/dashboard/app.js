// Asks the collector once a second and shows what it says. Waits longer while it is gone, and not at all while nobody looks.

import { badge, callView } from "./call.js";
import { draw } from "./chart.js";
import { STAGES, duration, html, length, percent, span } from "./dom.js";

const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 10_000;
const TIMEOUT_MS = 5000;

const $ = (id) => document.getElementById(id);
let last = null;
let only = "";
const shown = { calls: "", call: "" };
let wake = () => {};

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Sleeps; `wake` ends it early, and nothing but `wake` while the page is hidden. */
function sleep(ms) {
  return new Promise((resolve) => {
    const timer = document.hidden ? null : setTimeout(resolve, ms);
    wake = () => (clearTimeout(timer), resolve());
  });
}

async function run() {
  let failures = 0;
  for (;;) {
    try {
      const live = await ask("/page/live");
      if (last && last.build !== live.build) location.reload();
      last = live;
      show(live);
      await showCall();
      failures = 0;
      connection("live", "live");
    } catch (error) {
      failures += 1;
      connection("gone", "no connection, trying again…");
      console.debug(error);
    }
    await sleep(failures ? Math.min(PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS) : PAUSE_MS);
  }
}

function connection(state, text) {
  const place = $("connection");
  // Only when it changes: each change is read aloud.
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = state;
  document.body.classList.toggle("stale", state === "gone");
}

function show({ window, durations, totals, workers, events, chart, calls }) {
  $("window").textContent = span(window.window_sec);
  const answered = window.turns - window.unanswered;
  const now = workers.reduce((sum, worker) => sum + worker.calls, 0);
  const room = workers.reduce((sum, worker) => sum + (worker.draining ? 0 : worker.capacity), 0);
  tiles($("counts"), [
    ["calls now", now, workers.length ? `room for ${room}, on ${workers.length} ${workers.length === 1 ? "worker" : "workers"}` : "no worker is heard of"],
    ["calls ended", window.calls, `${totals.calls} since start${totals.refused ? `, ${totals.refused} not let in` : ""}`],
    ["turns", window.turns, `${totals.turns} since start`],
    ["answered", percent(answered, window.turns), `${percent(totals.answered, totals.turns)} since start`],
    ["barge-ins", window.barge_ins, window.barge_ins && durations.barge_in.count ? `silent after ${duration(durations.barge_in.p50_ms)} (p50)` : `${totals.barge_ins} since start`],
  ]);
  figures($("response-figures"), durations.response);
  figures($("roundtrip-figures"), window.roundtrip);
  draw($("response-chart"), "Response", chart.response, chart);
  draw($("roundtrip-chart"), "RoundTrip", chart.roundtrip, chart);
  listWorkers($("workers"), workers);
  stages($("stages"), window);
  listCalls(calls);
  const ear = durations.response_heard;
  $("events").textContent = [
    ear.count ? `Response at the callers’ ears: ${duration(ear.avg_ms)} on average` : null,
    `events: ${events.accepted} kept, ${events.lost} lost, ${events.refused} refused, ${events.dropped} dropped`,
  ].filter(Boolean).join(" · ");
  document.body.classList.toggle("losing", events.lost > 0 || events.dropped > 0);
}

function listWorkers(place, workers) {
  $("workers-area").hidden = workers.length === 0;
  const head = ["worker", "calls", "loop late", "frames late", "dropped"].map((name) => html("th", { scope: "col" }, name));
  const rows = workers.map((worker) => {
    const load = html("meter", { min: 0, max: Math.max(worker.capacity, worker.calls, 1), high: 0.9 * worker.capacity, value: worker.calls, "aria-hidden": "true" });
    return html("tr", {},
      html("th", { scope: "row", title: worker.host }, worker.worker, worker.draining && html("span", { class: "badge cut" }, "drains")),
      html("td", {}, load, ` ${worker.calls} of ${worker.capacity}`),
      html("td", {}, duration(worker.loop_lag_ms)),
      html("td", {}, worker.late_ticks.toLocaleString("en")),
      html("td", {}, worker.dropped_ticks.toLocaleString("en")));
  });
  place.replaceChildren(html("table", { class: "stage-table" }, html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)));
}

function tiles(place, found) {
  place.replaceChildren(...found.map(([name, value, more]) =>
    html("div", { class: "tile" }, html("dt", {}, name), html("dd", {}, String(value)), html("dd", { class: "more" }, more))));
}

function figures(place, found) {
  const pairs = [["average", "avg_ms"], ["p50", "p50_ms"], ["p95", "p95_ms"], ["p99", "p99_ms"]];
  place.replaceChildren(...pairs.map(([name, key]) =>
    html("div", { class: name }, html("dt", {}, name), html("dd", {}, duration(found[key])))));
}

function stages(place, window) {
  const found = Object.entries(window.stages).filter(([, stage]) => stage.count > 0);
  if (found.length === 0) {
    place.replaceChildren(html("p", { class: "empty" }, `No answer in the last ${span(window.window_sec)}.`));
    return;
  }
  const bar = html("div", { class: "stack", "aria-hidden": "true" }, found.map(([mark, stage]) => {
    const part = html("i", { class: `stage-${mark}`, title: `${STAGES[mark].name}: ${duration(stage.avg_ms)}` });
    part.style.flexGrow = stage.share;
    return part;
  }));
  const head = ["stage", "share", "average", "p50", "p95"].map((name) => html("th", { scope: "col" }, name));
  const rows = found.map(([mark, stage]) => html("tr", { title: STAGES[mark].about },
    html("th", { scope: "row" }, html("i", { class: `swatch stage-${mark}` }), STAGES[mark].name),
    html("td", {}, `${(100 * stage.share).toFixed(1)} %`),
    ...["avg_ms", "p50_ms", "p95_ms"].map((key) => html("td", {}, duration(stage[key]))),
  ));
  place.replaceChildren(bar, html("table", { class: "stage-table" }, html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows)));
}

// --- calls ---

function chosen() {
  if (!location.hash.startsWith("#call/")) return null;
  try {
    return decodeURIComponent(location.hash.slice(6));
  } catch {
    return null; // Somebody's own address.
  }
}

function listCalls(calls) {
  const state = JSON.stringify([calls, chosen(), only]);
  if (state === shown.calls) return; // Whoever is in the list with the keyboard stays there.
  shown.calls = state;
  $("start").hidden = calls.length > 0;
  $("calls-area").hidden = $("stages-area").hidden = calls.length === 0;
  const focused = document.activeElement?.dataset?.call;
  const listed = only === "failed" ? calls.filter((call) => call.result !== null && call.result !== "success") : calls;
  $("calls").replaceChildren(listed.length ? html("ul", { class: "call-list" }, listed.map(callLine)) : html("p", { class: "empty" }, "None of the last calls failed."));
  if (focused) [...$("calls").querySelectorAll("a")].find((link) => link.dataset.call === focused)?.focus();
}

function callLine(call) {
  const at = new Date(call.heard_of_wall * 1000);
  const turns = `${call.turns} ${call.turns === 1 ? "turn" : "turns"}`;
  const barge = call.barge_ins ? `, ${call.barge_ins} barge-in${call.barge_ins === 1 ? "" : "s"}` : "";
  return html("li", {}, html("a", { href: `#call/${encodeURIComponent(call.call)}`, "data-call": call.call, "aria-current": call.call === chosen() ? "true" : null },
    html("time", { datetime: at.toISOString(), title: at.toLocaleString() }, at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" })),
    badge(call),
    html("span", { class: "more" }, [call.worker, `${turns}${barge}`, call.length_ms === null ? null : length(call.length_ms)].filter(Boolean).join(" · ")),
  ));
}

async function showCall() {
  const id = chosen();
  if (id === null) {
    shown.call = "";
    $("call-body").replaceChildren(html("p", { class: "empty" }, "Choose a call to see its turns."));
    return;
  }
  // Asked again only when the list says that something came, or when the call has left the list.
  const known = last?.calls.find((call) => call.call === id);
  const state = JSON.stringify([id, known ?? null]);
  if (state === shown.call) return;
  const call = await ask(`/page/calls/${encodeURIComponent(id)}`);
  if (id !== chosen()) return;
  shown.call = state;
  $("call-body").replaceChildren(...(call ? callView(call) : [html("p", { class: "empty" }, "This call is not among the last ones that are kept.")]));
}

addEventListener("hashchange", async () => {
  if (last) listCalls(last.calls);
  try {
    await showCall();
  } catch {
    wake(); // The loop says that there is no connection.
  }
  if (chosen() !== null) {
    $("call").focus({ preventScroll: true });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("call").scrollIntoView({ block: matchMedia("(max-width: 860px)").matches ? "start" : "nearest", behavior: calm ? "auto" : "smooth" });
  }
});
for (const button of document.querySelectorAll("#filter button")) {
  button.addEventListener("click", () => {
    only = button.dataset.only;
    for (const each of document.querySelectorAll("#filter button")) each.setAttribute("aria-pressed", String(each === button));
    if (last) listCalls(last.calls);
  });
}
document.addEventListener("visibilitychange", () => document.hidden || wake());
addEventListener("resize", () => last && show(last));
run();
