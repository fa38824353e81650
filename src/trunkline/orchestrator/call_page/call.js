// One call: microphone, room, the agent's sound, and who speaks.
import { createLocalAudioTrack, DisconnectReason, Room, RoomEvent, Track } from "./livekit-client.esm.mjs"
import { Loudness } from "./loudness.js"

const AGENT_COMES_WITHIN_MS = 20_000
const LOOK_MS = 100

export class CallError extends Error {
  constructor(reason) {
    super(reason)
    this.reason = reason
  }
}

export class Call {
  #on
  // One connection each way: with one for both, publishing to livekit-server 1.13 fails in Chromium.
  #room = new Room({ singlePeerConnection: false })
  #mic = null
  #loudness = new Loudness()
  #ended = Promise.withResolvers()
  #answered = false
  #hungUp = false

  /** @param on state(name) and speaking("you" | "agent", loud) */
  constructor(on) {
    this.#on = on
    this.#ended.promise.catch(() => {})
  }

  /** Carries the call until it ends; throws CallError. begin() uses the link up and tells where the room is. */
  async run(begin) {
    const looking = setInterval(() => this.#look(), LOOK_MS)
    let late
    try {
      this.#on.state("microphone")
      this.#mic = await microphone()
      this.#loudness.listen("you", this.#mic.mediaStreamTrack)
      if (this.#hungUp) return
      this.#on.state("dialling")
      const { url, token } = await begin()
      if (this.#hungUp) return
      this.#room.on(RoomEvent.TrackSubscribed, (track) => this.#hear(track))
      this.#room.on(RoomEvent.Disconnected, (reason) => this.#disconnected(reason))
      late = setTimeout(() => this.#answered || this.#ended.reject(new CallError("no_agent")), AGENT_COMES_WITHIN_MS)
      await this.#join(url, token)
      await this.#ended.promise
    } finally {
      clearInterval(looking)
      clearTimeout(late)
      this.#mic?.stop()
      this.#loudness.close()
      await this.#room.disconnect()
      for (const sound of document.querySelectorAll("audio")) sound.remove()
    }
  }

  hangUp() {
    this.#hungUp = true
    this.#ended.resolve()
    this.#room.disconnect()
  }

  async mute(muted) {
    await (muted ? this.#mic.mute() : this.#mic.unmute())
  }

  async #join(url, token) {
    try {
      await this.#room.connect(url, token)
      // The engine takes plain Opus, also in pauses: with what the codec leaves out it could not tell a pause from loss.
      await this.#room.localParticipant.publishTrack(this.#mic, { source: Track.Source.Microphone, dtx: false, red: false })
    } catch (error) {
      if (this.#hungUp) return
      console.error(error)
      throw new CallError("media_failed")
    }
  }

  #hear(track) {
    if (track.kind !== Track.Kind.Audio || this.#answered) return
    this.#answered = true
    document.body.append(track.attach())
    this.#loudness.listen("agent", track.mediaStreamTrack)
    // The press of the button allows sound.
    this.#room.startAudio().catch(() => {})
    this.#on.state("talking")
  }

  #disconnected(reason) {
    const closed = [DisconnectReason.ROOM_DELETED, DisconnectReason.ROOM_CLOSED, DisconnectReason.PARTICIPANT_REMOVED]
    if (this.#hungUp || (this.#answered && closed.includes(reason))) this.#ended.resolve()
    else this.#ended.reject(new CallError(this.#answered ? "lost" : "no_agent"))
  }

  #look() {
    for (const [who, loud] of this.#loudness.look()) this.#on.speaking(who, loud)
  }
}

async function microphone() {
  try {
    return await createLocalAudioTrack({ echoCancellation: true, noiseSuppression: true, autoGainControl: true })
  } catch (error) {
    const reasons = { NotAllowedError: "mic_refused", SecurityError: "mic_refused", NotFoundError: "mic_missing" }
    throw new CallError(reasons[error.name] ?? "mic_busy")
  }
}
