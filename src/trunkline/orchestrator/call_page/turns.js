// What was said, turn by turn: asks the server, and writes it as text only, since it is foreign.
const ASK_MS = 1_000
const ASK_AGAIN_MS = 5_000
const LAST_LOOK_MS = 2_500
const OUTCOMES = { interrupted: "cut short", unanswered: "not answered" }

/** Shows the turns as they come; returns what stops that, a little later, since the last turn may be on its way. */
export function watchTurns(view) {
  let stopped = false
  let timer
  const shown = new Map()

  async function look() {
    let next = ASK_MS
    try {
      const options = { headers: { authorization: `Bearer ${view}` }, signal: AbortSignal.timeout(5_000) }
      const response = await fetch("/call/turns", options)
      if (!response.ok) throw new Error(`status ${response.status}`)
      for (const turn of (await response.json()).turns) write(turn, shown)
      tell("")
    } catch {
      tell("What was said can’t be shown at the moment; the call goes on without it.")
      next = ASK_AGAIN_MS
    }
    if (!stopped) timer = setTimeout(look, next)
  }

  look()
  return () => {
    setTimeout(() => {
      stopped = true
      clearTimeout(timer)
    }, LAST_LOOK_MS)
  }
}

function write(turn, shown) {
  const before = shown.get(turn.turn)
  const text = JSON.stringify(turn)
  if (before?.text === text) return
  const item = make("li", {}, [
    quote("You", turn.understood, "not understood"),
    quote("Agent", turn.answer, "said nothing"),
    figures(turn),
  ])
  if (before) before.item.replaceWith(item)
  else document.getElementById("turns").append(item)
  shown.set(turn.turn, { text, item })
  document.getElementById("no-turns").hidden = true
}

function quote(who, said, otherwise) {
  return make("p", { className: "quote" }, [make("b", {}, [who]), said ? make("span", {}, [said]) : make("em", {}, [otherwise])])
}

function figures(turn) {
  const found = []
  if (turn.response_ms !== null) found.push(`Response ${Math.round(turn.response_ms)} ms`)
  if (turn.roundtrip_ms !== null) found.push(`RoundTrip ${Math.round(turn.roundtrip_ms)} ms`)
  if (OUTCOMES[turn.outcome]) found.push(OUTCOMES[turn.outcome])
  return make("p", { className: "figures" }, found.map((text) => make("span", {}, [text])))
}

function tell(problem) {
  const line = document.getElementById("turns-problem")
  line.textContent = problem
  line.hidden = !problem
}

function make(name, properties, children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}
