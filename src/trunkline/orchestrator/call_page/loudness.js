// Who is loud right now: looks at the sound itself, here, so that both sides are told alike and at once.
const GATE = 10 ** (-45 / 20)
const HOLD_MS = 300

export class Loudness {
  #context = new AudioContext()
  #ears = new Map()

  /** Listens to a track under a name; what it hears is not played. */
  listen(who, track) {
    const analyser = this.#context.createAnalyser()
    analyser.fftSize = 2048
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(analyser)
    this.#ears.set(who, { analyser, samples: new Float32Array(analyser.fftSize), loudAt: -HOLD_MS })
  }

  /** [name, loud] of everybody; short gaps between words are bridged. */
  look() {
    const now = performance.now()
    return [...this.#ears].map(([who, ear]) => {
      ear.analyser.getFloatTimeDomainData(ear.samples)
      const power = ear.samples.reduce((sum, sample) => sum + sample * sample, 0) / ear.samples.length
      if (Math.sqrt(power) > GATE) ear.loudAt = now
      return [who, now - ear.loudAt < HOLD_MS]
    })
  }

  close() {
    this.#context.close()
  }
}
