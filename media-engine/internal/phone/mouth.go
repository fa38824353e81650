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
	// begun and speechEndUs tell what of its speech was sent.
	begun       bool
	speechEndUs int64
}

// load reads a file of 8 or 16 kHz for a line, and finds the speech in it.
func load(id, path string, rate pcm.Rate) (*clip, error) {
	audio, err := wav.Read(path)
	if err != nil {
		return nil, err
	}
	c := &clip{id: id, samples: audio.Samples}
	switch from := pcm.Rate(audio.RateHz); {
	case from == rate:
	case from == pcm.Wide:
		c.samples = pcm.Halve(audio.Samples)
	case from == pcm.Narrow:
		c.samples = pcm.Double(audio.Samples)
	default:
		return nil, fmt.Errorf("%s: %d Hz; 8000 or 16000 are played", path, audio.RateHz)
	}
	if len(c.samples) == 0 {
		return nil, fmt.Errorf("%s: no samples in it", path)
	}
	c.first, c.last, c.spoken = pcm.SpeechBounds(c.samples, rate)
	return c, nil
}

// mouth decides what is sent in each tick: keys first, then the clips in their order, else silence.
type mouth struct {
	mu    sync.Mutex
	clips []*clip
	keys  dtmf.Sender
}

// utterance is what one tick sends: either keys, or a frame of sound.
type utterance struct {
	keys []dtmf.Send
	// of is the clip that the frame is from, if any; speech tells that it lies between the first and the last sound,
	// starts that the first is in it, done that it was its last frame.
	of             *clip
	speech, starts bool
	done           bool
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

// next fills a frame, which comes empty.
func (m *mouth) next(frame []int16) utterance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys.Busy() {
		return utterance{keys: m.keys.Next()}
	}
	if len(m.clips) == 0 {
		return utterance{}
	}
	c := m.clips[0]
	end := c.at + copy(frame, c.samples[c.at:])
	u := utterance{
		of: c, done: end == len(c.samples),
		speech: c.spoken && c.first < end && c.at <= c.last,
		starts: c.spoken && c.at <= c.first && c.first < end,
	}
	c.at = end
	if u.done {
		m.clips = m.clips[1:]
	}
	return u
}
