// The page: what its buttons do, and what it shows of the call.
import { Call, CallError } from "./call.js"
import { watchTurns } from "./turns.js"

const CODE = /^#([A-Za-z0-9_-]{32})$/
const LINK_HELP = "Ask whoever gave you this link for a new one: trunkline link prints one."
const PROBLEMS = {
  no_code: `This address has no link in it. ${LINK_HELP}`,
  link_used: `This link was used before, and each works once. ${LINK_HELP}`,
  link_unknown: `This link has run out, or never was one. ${LINK_HELP}`,
  full: "No agent is free at the moment. The link is still good: try again in a little while.",
  no_agent: `No agent came to the call. ${LINK_HELP}`,
  too_many_requests: "There were too many requests from here. Wait a minute and try again.",
  no_answer: "The server does not answer. Check the connection and try again.",
  not_secure: "Browsers give the microphone only to pages on this computer or over HTTPS. Open the page there.",
  mic_refused: "The browser was not allowed to use the microphone. Allow it for this page and press Call again.",
  mic_missing: "No microphone was found. Connect one and press Call again.",
  mic_busy: "The microphone can't be opened; perhaps another program uses it. Press Call again when it is free.",
  media_failed: `The sound can't get through to the server. ${LINK_HELP}`,
  lost: `The connection broke, and did not come back. ${LINK_HELP}`,
}
const STILL_GOOD = new Set(["full", "too_many_requests", "no_answer", "mic_refused", "mic_missing", "mic_busy"])
const STATES = {
  ready: "Ready. The browser will ask for your microphone.",
  microphone: "Allow the microphone…",
  dialling: "Calling the agent…",
  talking: "Connected. Speak whenever you like, also while the agent speaks.",
  ended: "The call is over. Another one needs a new link.",
  failed: "No call.",
}
const STATE_LOOKS = { microphone: "dialling" }

const at = (id) => document.getElementById(id)
const code = CODE.exec(location.hash)?.[1]
let call = null
let stopWatching = () => {}

function show(state) {
  const line = at("state")
  line.dataset.state = STATE_LOOKS[state] ?? state
  line.textContent = STATES[state]
  const busy = ["microphone", "dialling", "talking"].includes(state)
  at("dial").hidden = busy || state === "ended"
  at("hang-up").hidden = !busy
  at("mute").hidden = state !== "talking"
  at("speakers").hidden = state !== "talking"
  if (state === "microphone") at("hang-up").focus()
}

function fail(reason) {
  show("failed")
  at("problem").textContent = PROBLEMS[reason] ?? PROBLEMS.no_answer
  at("problem").hidden = false
  at("dial").disabled = !STILL_GOOD.has(reason)
}

async function begin() {
  let response
  try {
    response = await fetch("/call/begin", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code }),
      signal: AbortSignal.timeout(10_000),
    })
  } catch {
    throw new CallError("no_answer")
  }
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new CallError(answer.reason ?? "no_answer")
  // It is used up: gone from the address bar and the history.
  history.replaceState(null, "", location.pathname)
  stopWatching = watchTurns(answer.view)
  return answer
}

function speaking(who, loud) {
  const lamp = at(who)
  if (lamp.dataset.speaking === String(loud)) return
  lamp.dataset.speaking = loud
  lamp.querySelector("dd").textContent = loud ? "speaking" : "silent"
}

at("dial").addEventListener("click", async () => {
  at("problem").hidden = true
  call = new Call({ state: show, speaking })
  try {
    await call.run(begin)
    show("ended")
    at("call-title").scrollIntoView({ block: "nearest" })
  } catch (error) {
    if (!(error instanceof CallError)) console.error(error)
    fail(error instanceof CallError ? error.reason : "no_answer")
  } finally {
    stopWatching()
  }
})
at("hang-up").addEventListener("click", () => call?.hangUp())
at("mute").addEventListener("click", async () => {
  const muted = at("mute").getAttribute("aria-pressed") !== "true"
  await call?.mute(muted)
  at("mute").setAttribute("aria-pressed", muted)
})
addEventListener("pagehide", () => call?.hangUp())

if (!code) fail("no_code")
else if (!window.isSecureContext || !navigator.mediaDevices) fail("not_secure")
else at("dial").disabled = false
