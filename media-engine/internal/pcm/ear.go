package pcm

// quietBlocks is how long it must be quiet between two sounds: 200 ms.
const quietBlocks = 20

// Heard is a start or an end of sound at the ear.
type Heard struct {
	// Start is true for the first block of a sound, false for the end of the last one.
	Start bool
	// At is the sample, counted from the first one ever given to the ear.
	At int64
	// LevelDbfs is the level of the first block; only for starts.
	LevelDbfs float64
}

// Ear finds sounds in what is played out: a sound starts with a block over SoundDbfs after 200 ms of quiet,
// and has stopped when it has been quiet for 200 ms.
type Ear struct {
	rate     Rate
	at       int64
	soundEnd int64
	sounding bool
}

// NewEar makes an ear that has heard nothing yet.
func NewEar(rate Rate) *Ear { return &Ear{rate: rate} }

// Sounding tells if there is a sound, or was within the last 200 ms.
func (e *Ear) Sounding() bool { return e.sounding }

// Listen takes the next samples, whole 10 ms blocks, and returns what was found in them, in order.
func (e *Ear) Listen(samples []int16) []Heard {
	var found []Heard
	size := e.rate.Block()
	for start := 0; start < len(samples); start += size {
		block := samples[start:min(start+size, len(samples))]
		switch {
		case IsSound(block):
			if !e.sounding {
				e.sounding = true
				found = append(found, Heard{Start: true, At: e.at, LevelDbfs: LevelDbfs(block)})
			}
			e.soundEnd = e.at + int64(len(block))
		case e.sounding && e.at+int64(len(block))-e.soundEnd >= int64(quietBlocks*size):
			found = append(found, e.stop())
		}
		e.at += int64(len(block))
	}
	return found
}

// Close ends a sound that lasts to the end of the call.
func (e *Ear) Close() []Heard {
	if !e.sounding {
		return nil
	}
	return []Heard{e.stop()}
}

func (e *Ear) stop() Heard {
	e.sounding = false
	return Heard{At: e.soundEnd}
}
