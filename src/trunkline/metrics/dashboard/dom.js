// Makes elements and words. Text always goes in as text: what callers said is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children; strings become text, null and false are left out. */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

/** Milliseconds for people: "< 1 ms", "332 ms", from ten seconds on "12.4 s"; "–" where there is none. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms > 0 && ms < 1) return "< 1 ms";
  if (Math.abs(ms) < 10_000) return `${Math.round(ms).toLocaleString("en")} ms`;
  return length(ms);
}

/** The length of a call or a span: "8.4 s", "3 min 5 s". */
export function length(ms) {
  if (ms === null || ms === undefined) return "–";
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

export function span(seconds) {
  if (seconds === 60) return "minute";
  return seconds % 60 === 0 ? `${seconds / 60} minutes` : `${seconds} seconds`;
}

export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return `${share === 100 || share === 0 ? share : share.toFixed(share >= 99 || share < 10 ? 1 : 0)} %`;
}

/** "caller_hung_up" is told as "caller hung up". */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** What people call the stages; their marks are the names in /summary. */
export const STAGES = {
  STTPartial: { name: "first words", about: "until the first words are known" },
  SpeechEnd: { name: "sentence", about: "the caller speaks" },
  STTFinal: { name: "words", about: "end of speech is certain, the sentence is known" },
  AgentDecision: { name: "decide", about: "the first sentence of the answer is known" },
  TTSFirstByte: { name: "voice", about: "the first sound of the answer is there" },
  PlaybackStart: { name: "send", about: "the first packet goes out" },
};
