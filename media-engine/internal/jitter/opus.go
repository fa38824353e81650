package jitter

// durationMs is how long an Opus packet lasts, from its first bytes (RFC 6716, sections 3.1 and 3.2).
//
// It is 0 for what is no packet, lasts longer than 120 ms, or does not last a multiple of 10 ms.
func durationMs(payload []byte) int {
	if len(payload) == 0 {
		return 0
	}
	frames := 1
	switch payload[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(payload) < 2 {
			return 0
		}
		frames = int(payload[1] & 63)
	}
	us := frames * frameUs(payload[0]>>3)
	if us > 120_000 || us%10_000 != 0 {
		return 0
	}
	return us / 1000
}

// frameUs is the length of one frame in each of the 32 configurations.
func frameUs(configuration byte) int {
	switch {
	case configuration < 12: // SILK
		return [...]int{10_000, 20_000, 40_000, 60_000}[configuration%4]
	case configuration < 16: // hybrid
		return [...]int{10_000, 20_000}[configuration%2]
	default: // CELT
		return 2_500 << (configuration % 4)
	}
}

// carriesCopy tells if a packet of one frame carries a copy of the one before it.
//
// Only SILK does. Its data starts with bits of even odds, so they can be read without a range decoder: for each channel
// a voice flag per 20 ms, then the flag that is asked for (RFC 6716, sections 4.2.3 and 4.2.4).
func carriesCopy(payload []byte) bool {
	const stereo, code = 4, 3
	if len(payload) < 2 || payload[0]>>3 >= 16 || payload[0]&code != 0 {
		return false
	}
	voices := max(1, frameUs(payload[0]>>3)/20_000)
	flags := byte(1) << (7 - voices)
	if payload[0]&stereo != 0 {
		flags |= byte(1) << (6 - 2*voices)
	}
	return payload[1]&flags != 0
}

// announcesPause tells if a packet is one of DTX: it holds no sound, and the next may be 400 ms away.
func announcesPause(payload []byte) bool { return len(payload) <= 2 }
