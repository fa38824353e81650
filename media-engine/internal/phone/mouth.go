package phone

import (
	"fmt"
	"sync"

	"github.com/trunkline/trunkline/media-engine/internal/dtmf"
	"github.com/trunkline/trunkline/media-engine/internal/pcm"
	"github.com/trunkline/trunkline/media-engine/internal/wav"
)

// queueClips is how many files may wait for their turn in one call.
const queueClips = 256

// clip is one file on its way out.
type clip struct {
	id      string
	samples []int16
	// first and last are the samples at which speech starts and ends; spoken is false for a silent file.
	first, last int
	spoken      bool
	at          int
	speechEndUs int64
}

// load reads a file of 8 or 16 kHz and finds the speech in it.
func load(id, path string) (*clip, error) {
	audio, err := wav.Read(path)
	if err != nil {
		return nil, err
	}
	c := &clip{id: id, samples: audio.Samples}
	switch audio.RateHz {
	case pcm.RateHz:
	case 2 * pcm.RateHz:
		c.samples = pcm.Halve(audio.Samples)
	default:
		return nil, fmt.Errorf("%s: %d Hz; 8000 or 16000 are played", path, audio.RateHz)
	}
	if len(c.samples) == 0 {
		return nil, fmt.Errorf("%s: no samples in it", path)
	}
	c.first, c.last, c.spoken = pcm.SpeechBounds(c.samples)
	return c, nil
}

// mouth decides what is sent in each tick: keys first, then the clips in their order, else silence.
type mouth struct {
	mu    sync.Mutex
	clips []*clip
	keys  dtmf.Sender
}

// utterance is what one tick sends: either keys, or a frame of audio.
type utterance struct {
	keys  []dtmf.Send
	frame [pcm.FrameSamples]int16
	// of is the clip that the frame is from, if any; starts and ends tell that the first and the last sound are in it,
	// done that it was its last frame.
	of           *clip
	starts, ends bool
	done         bool
}

func (m *mouth) play(c *clip) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.clips) >= queueClips {
		return fmt.Errorf("%d files are waiting", queueClips)
	}
	m.clips = append(m.clips, c)
	return nil
}

func (m *mouth) press(digits string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys.Add(digits)
}

// hush drops all clips and returns them.
func (m *mouth) hush() []*clip {
	m.mu.Lock()
	defer m.mu.Unlock()
	dropped := m.clips
	m.clips = nil
	return dropped
}

func (m *mouth) next() utterance {
	m.mu.Lock()
	defer m.mu.Unlock()
	var u utterance
	if m.keys.Busy() {
		u.keys = m.keys.Next()
		return u
	}
	if len(m.clips) == 0 {
		return u
	}
	c := m.clips[0]
	end := c.at + copy(u.frame[:], c.samples[c.at:])
	u.of = c
	u.starts = c.spoken && c.at <= c.first && c.first < end
	u.ends = c.spoken && c.at <= c.last && c.last < end
	u.done = end == len(c.samples)
	c.at = end
	if u.done {
		m.clips = m.clips[1:]
	}
	return u
}
