// A duration over time: p50 and p95 of every few seconds, as SVG in the width that there is.

import { duration, html, svg } from "./dom.js";

const HEIGHT = 170;
const LEFT = 62;
const LABEL = 58; // Room that a label below needs.
const RIGHT = 8;
const TOP = 12;
const BOTTOM = 24;
const GAP_S = 60; // Points further apart than this are not joined: nothing is known of the time between.

/** Round numbers from at or below `low` to at or above `high`, about four of them. */
export function ticks(low, high) {
  high = Math.max(high, low + 1);
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let at = Math.floor(low / step) * step; at < high + step; at += step) found.push(at);
  return found;
}

/** Splits points into runs that may be joined by a line; the oldest point is first. */
export function runs(points, gap_s = GAP_S) {
  const found = [];
  for (const point of points) {
    const last = found.at(-1)?.at(-1);
    if (last && last.ago_s - point.ago_s <= gap_s) found.at(-1).push(point);
    else found.push([point]);
  }
  return found;
}

/** How far back to draw, in seconds: no further than there is something, in steps that read well. */
export function reach(points, span_s) {
  return [120, 300, 600].find((seconds) => seconds < span_s && points[0].ago_s <= seconds) ?? span_s;
}

/** Draws into `place`, in place of what was there. */
export function draw(place, name, points, chart) {
  const width = Math.max(place.clientWidth, 200);
  if (points.length === 0) {
    place.replaceChildren(html("p", { class: "chart-empty" }, `no answer in the last ${chart.span_s / 60} minutes`));
    return;
  }
  const span_s = reach(points, chart.span_s);
  const scale = ticks(Math.min(0, ...points.map((p) => p.p50_ms)), Math.max(...points.map((p) => p.p95_ms)));
  const [low, high] = [scale[0], scale.at(-1)];
  const x = (ago_s) => LEFT + (width - LEFT - RIGHT) * (1 - Math.min(ago_s, span_s) / span_s);
  const y = (ms) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (ms - low) / (high - low));
  const middle = (point) => x(Math.max(0, point.ago_s - chart.step_s / 2));
  const line = (run, key) => run.map((p) => `${middle(p).toFixed(1)},${y(p[key]).toFixed(1)}`);

  const latest = points.at(-1);
  const about = `${name} over the last ${span_s / 60} minutes. Latest: p50 ${duration(latest.p50_ms)}, p95 ${duration(latest.p95_ms)}.`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": about });
  for (const ms of scale) {
    picture.append(
      svg("line", { class: ms === 0 ? "zero" : "grid", x1: LEFT, x2: width - RIGHT, y1: y(ms), y2: y(ms) }),
      svg("text", { class: "label", x: LEFT - 8, y: y(ms) + 4, "text-anchor": "end" }, ms.toLocaleString("en") + (ms === high ? " ms" : "")),
    );
  }
  const minutes = span_s / 60;
  const wanted = minutes % 3 === 0 ? 3 : minutes % 5 === 0 ? 5 : 2;
  const parts = (width - LEFT - RIGHT) / wanted < LABEL ? 1 : wanted; // On a phone they would run into each other.
  for (let part = 0; part <= parts; part += 1) {
    const ago = (minutes * part) / parts;
    const anchor = part === parts ? "start" : part === 0 ? "end" : "middle";
    const text = ago === 0 ? "now" : `−${ago} min`;
    picture.append(svg("text", { class: "label", x: x(ago * 60), y: HEIGHT - 6, "text-anchor": anchor }, text));
  }
  const many = points.length > 20 ? " many" : ""; // Then the lines say enough; a dot still answers the mouse.
  for (const run of runs(points)) {
    const dot = run.length === 1 ? "dot" : `dot${many}`;
    picture.append(
      svg("polygon", { class: "between", points: [...line(run, "p95_ms"), ...line(run, "p50_ms").reverse()].join(" ") }),
      svg("polyline", { class: "p95", points: line(run, "p95_ms").join(" ") }),
      svg("polyline", { class: "p50", points: line(run, "p50_ms").join(" ") }),
    );
    for (const point of run) {
      const told = `${point.count} ${point.count === 1 ? "answer" : "answers"}: p50 ${duration(point.p50_ms)}, p95 ${duration(point.p95_ms)}`;
      const cx = middle(point);
      picture.append(...[
        point.p95_ms > point.p50_ms && svg("circle", { class: `${dot} p95`, cx, cy: y(point.p95_ms), r: 3 }, svg("title", {}, told)),
        svg("circle", { class: `${dot} p50`, cx, cy: y(point.p50_ms), r: 3 }, svg("title", {}, told)),
      ].filter(Boolean));
    }
  }
  place.replaceChildren(picture);
}
