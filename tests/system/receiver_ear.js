// The same rule as src/trunkline/loadtest/ear.py: a sound starts with 10 ms over the gate after 200 ms of quiet.
const GATE = 10 ** (-45 / 20)
const QUIET_MS = 200

class Ear extends AudioWorkletProcessor {
  power = 0
  samples = 0
  soundEndMs = -QUIET_MS
  sounding = false

  process([input]) {
    const sound = input[0]
    for (let i = 0; i < 128; i++) {
      if (sound) this.power += sound[i] ** 2
      if (++this.samples >= sampleRate / 100) this.endBlock(Date.now())
    }
    return true
  }

  endBlock(nowMs) {
    const level = Math.sqrt(this.power / this.samples)
    this.power = this.samples = 0
    if (level > GATE) {
      if (!this.sounding) this.port.postMessage(nowMs - 10)
      this.sounding = true
      this.soundEndMs = nowMs
    } else if (nowMs - this.soundEndMs >= QUIET_MS) {
      this.sounding = false
    }
  }
}

registerProcessor("ear", Ear)
