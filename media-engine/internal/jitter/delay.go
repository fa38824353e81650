package jitter

const (
	// windowPackets is how many packets are looked at: the last 3 s of speech.
	windowPackets = 150
	// decayUs is how much the target shrinks with each packet: 4 ms a second.
	decayUs = 80
	// guardUs is what is added to the lateness that was seen.
	guardUs = 2_000
	tickUs  = 20_000
	// With one loss in 64 packets it pays to wait for the copy that the next one carries.
	lossCost, lossyFrom, lossMost = 64, 128, 512
)

// delays knows how long packets travel, compared with each other: arrival minus RTP time, in microseconds.
type delays struct {
	minUs, maxUs int64 // bounds of the target

	window [windowPackets]int64
	count  int
	next   int
	// leastUs is the delay of the fastest packet of the window. Being late is measured from there.
	leastUs int64
	// lateUs is how late packets must be expected to be: grows at once, shrinks slowly.
	lateUs int64
	// loss goes up by lossCost with a loss and down by 1 with a packet played; lossy from lossyFrom down to 0.
	loss  int
	lossy bool
}

// restart forgets all delays; this one comes next. How late packets are stays known: the road is still the same.
func (d *delays) restart(delayUs int64) {
	d.count, d.next, d.leastUs = 0, 0, delayUs
}

func (d *delays) add(delayUs int64) {
	d.window[d.next] = delayUs
	d.next = (d.next + 1) % windowPackets
	d.count = min(d.count+1, windowPackets)

	// The second slowest of 150: one packet alone is not worth a delay for all others.
	least, slowest, second := delayUs, delayUs, delayUs
	for i, each := range d.window[:d.count] {
		least = min(least, each)
		switch {
		case i == 0:
			slowest, second = each, least
		case each > slowest:
			slowest, second = each, slowest
		case i == 1 || each > second:
			second = each
		}
	}
	late := second - least
	if d.count < 2 {
		late = 0
	}
	// Where the road got slower for good, packets are no longer late, but no later than they were either.
	d.lateUs -= max(0, least-d.leastUs)
	d.leastUs = least
	d.lateUs = min(max(late+min(late, guardUs), d.lateUs-decayUs), d.maxUs)
}

// played enters a packet that was played, and whether the one before it was lost.
func (d *delays) played(afterLoss bool) {
	d.loss = max(0, d.loss-1)
	if afterLoss {
		d.loss = min(d.loss+lossCost, lossMost)
	}
	d.lossy = d.loss > 0 && (d.lossy || d.loss >= lossyFrom)
}

// targetUs is the longest that the fastest packet is to wait.
//
// Since a tick comes every 20 ms, it waits up to 20 ms less: the latest packet that is expected is then still in time.
func (d *delays) targetUs() int64 {
	target := d.lateUs + tickUs
	if d.lossy {
		target += tickUs
	}
	return min(max(target, d.minUs), d.maxUs)
}
