package utterance

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// ramp is samples that tell their own place: start, start + 1, …
func ramp(samples, start int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16((start + i) % 30_000)
	}
	return pcm
}

func constant(samples int, value int16) []int16 {
	return slices.Repeat([]int16{value}, samples)
}

// next is the next frame, nil where there is none, and a copy of its events.
func next(q *Queue) ([]int16, []Event) {
	var frame [FrameSamples]int16
	speaking, events := q.Next(&frame)
	if !speaking {
		return nil, slices.Clone(events)
	}
	return frame[:], slices.Clone(events)
}

// drain takes frames until the queue is idle.
func drain(q *Queue) (frames [][]int16, events []Event) {
	for range MaxWaitingSamples/FrameSamples + 2*MaxOpen {
		if q.Idle() {
			break
		}
		frame, told := next(q)
		if frame != nil {
			frames = append(frames, frame)
		}
		events = append(events, told...)
	}
	return frames, events
}

func wantEvents(t *testing.T, got []Event, want ...Event) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestEverySampleIsSentOnceInOrderAndTheLastFrameIsFilledWithSilence(t *testing.T) {
	var q Queue
	q.Play(1, ramp(500, 1))
	q.Play(1, ramp(300, 501))
	q.End(1)
	frames, events := drain(&q)
	sent := slices.Concat(frames...)
	if want := append(ramp(800, 1), make([]int16, 160)...); !slices.Equal(sent, want) {
		t.Fatal(sent)
	}
	wantEvents(t, events, Event{First, 1, 0}, Event{Last, 1, 800})
}

func TestRunningDryIsToldOnceAGapAndOnlyInTheMiddleOfAnUtterance(t *testing.T) {
	var q Queue
	q.Play(1, ramp(100, 1))
	for _, step := range []struct {
		play     int
		speaking bool
		events   []Event
	}{
		{0, false, nil},
		{540, true, []Event{{First, 1, 0}}},
		{0, true, nil},
		{0, false, []Event{{RanDry, 1, 0}}},
		{0, false, nil},
		{320, true, nil},
		{0, false, []Event{{RanDry, 1, 0}}},
	} {
		q.Play(1, ramp(step.play, 1))
		frame, events := next(&q)
		if (frame != nil) != step.speaking {
			t.Fatalf("%+v: %v", step, frame)
		}
		wantEvents(t, events, step.events...)
	}
}

func TestPauseFadesWithinTenMillisecondsAndResumeLosesNoSample(t *testing.T) {
	var q Queue
	q.Play(1, constant(4*FrameSamples, 10_000))
	q.End(1)
	next(&q)
	wantEvents(t, q.Pause(), Event{Halted, 1, FrameSamples})
	fade, _ := next(&q)
	if fade[0] != 10_000 || fade[FadeSamples-1] > 200 || fade[FadeSamples-1] < 0 {
		t.Fatal(fade)
	}
	if !slices.IsSortedFunc(fade, func(a, b int16) int { return int(b) - int(a) }) {
		t.Fatal("louder again", fade)
	}
	if slices.Max(fade[FadeSamples:]) != 0 {
		t.Fatal("not silent after 10 ms", fade)
	}
	if frame, events := next(&q); frame != nil || len(events) > 0 || q.Idle() || !q.Paused() {
		t.Fatal(frame, events)
	}
	q.Resume()
	frames, events := drain(&q)
	if len(frames) != 3 || frames[0][0] != 0 || frames[0][FadeSamples-1] != 10_000 || frames[0][FadeSamples] != 10_000 {
		t.Fatal(frames)
	}
	wantEvents(t, events, Event{Last, 1, 4 * FrameSamples})
}

func TestAFadeIsOfTheSamplesThatWouldHaveComeNext(t *testing.T) {
	var q Queue
	q.Play(1, ramp(FrameSamples, 1))
	q.Play(1, constant(50, 8_000))
	next(&q)
	q.Pause()
	fade, _ := next(&q)
	if fade[0] != 8_000 || fade[49] == 0 || fade[49] >= 8_000 || fade[50] != 0 {
		t.Fatal(fade[:60])
	}
}

func TestFlushFadesDropsTheRestAndIgnoresWhatStillComesOfIt(t *testing.T) {
	var q Queue
	q.Play(1, ramp(3_200, 1))
	next(&q)
	wantEvents(t, q.Flush(), Event{Halted, 1, FrameSamples})
	frames, events := drain(&q)
	if len(frames) != 1 || len(events) != 0 {
		t.Fatal(len(frames), events)
	}
	q.Play(1, ramp(320, 1))
	q.End(1)
	if !q.Idle() {
		t.Fatal("it speaks again")
	}
	q.Play(2, ramp(320, 1))
	q.End(2)
	frames, events = drain(&q)
	wantEvents(t, events, Event{First, 2, 0}, Event{Last, 2, 320})
	if !slices.Equal(frames[0], ramp(320, 1)) {
		t.Fatal("faded", frames[0])
	}
}

func TestFlushOfAPausedUtteranceTellsWhereItWasAndSendsNothingMore(t *testing.T) {
	var q Queue
	q.Play(1, ramp(3_200, 1))
	next(&q)
	q.Pause()
	next(&q)
	wantEvents(t, q.Flush(), Event{Halted, 1, FrameSamples})
	if frame, events := next(&q); !q.Idle() || q.Paused() || frame != nil || len(events) > 0 {
		t.Fatal(frame, events)
	}
}

func TestFlushRightAfterPauseStillFades(t *testing.T) {
	var q Queue
	q.Play(1, constant(3_200, 10_000))
	next(&q)
	q.Pause()
	q.Flush()
	if frames, _ := drain(&q); len(frames) != 1 || frames[0][0] != 10_000 || frames[0][FadeSamples] != 0 {
		t.Fatal(frames)
	}
}

func TestPauseBeforeTheFirstSampleHoldsTheWholeAnswer(t *testing.T) {
	var q Queue
	q.Play(1, ramp(640, 1))
	wantEvents(t, q.Pause(), Event{Halted, 1, 0})
	wantEvents(t, q.Pause())
	if frame, _ := next(&q); frame != nil {
		t.Fatal(frame)
	}
	q.Resume()
	q.End(1)
	_, events := drain(&q)
	wantEvents(t, events, Event{First, 1, 0}, Event{Last, 1, 640})
}

func TestAnUtteranceThatEndsWithoutASampleEndsAllTheSame(t *testing.T) {
	var q Queue
	q.End(1)
	frame, events := next(&q)
	wantEvents(t, events, Event{Last, 1, 0})
	if frame != nil || !q.Idle() {
		t.Fatal(frame)
	}
	q.End(1)
	q.Play(2, nil)
	q.End(2)
	_, events = drain(&q)
	wantEvents(t, events, Event{Last, 2, 0})
}

func TestAnUtteranceThatEndsOnAFrameEndsWithoutAnother(t *testing.T) {
	var q Queue
	q.Play(1, ramp(FrameSamples, 1))
	next(&q)
	q.End(1)
	frame, events := next(&q)
	wantEvents(t, events, Event{Last, 1, FrameSamples})
	if frame != nil {
		t.Fatal(frame)
	}
}

func TestPauseResumeAndFlushOfNothingTellNothing(t *testing.T) {
	var q Queue
	wantEvents(t, q.Pause())
	wantEvents(t, q.Flush())
	q.Resume()
	q.Play(1, ramp(320, 1))
	if frame, _ := next(&q); q.Paused() || !slices.Equal(frame, ramp(320, 1)) {
		t.Fatal(frame)
	}
}

func TestALaterUtteranceWaitsForTheEarlier(t *testing.T) {
	var q Queue
	q.Play(1, ramp(160, 1))
	q.Play(2, ramp(320, 9_000))
	q.Play(1, ramp(160, 161))
	q.End(2)
	q.End(1)
	frames, events := drain(&q)
	if len(frames) != 2 || !slices.Equal(frames[0], ramp(320, 1)) || !slices.Equal(frames[1], ramp(320, 9_000)) {
		t.Fatal(frames)
	}
	wantEvents(t, events, Event{First, 1, 0}, Event{Last, 1, 320}, Event{First, 2, 0}, Event{Last, 2, 320})
}

func TestWhatIsPlayedMayBeUsedAgainByTheCaller(t *testing.T) {
	var q Queue
	pcm := constant(320, 7)
	q.Play(1, pcm)
	clear(pcm)
	if frame, _ := next(&q); frame[0] != 7 || frame[319] != 7 {
		t.Fatal(frame)
	}
}

func TestMoreThanTwoMinutesAreRefusedAndCounted(t *testing.T) {
	var q Queue
	q.Play(1, make([]int16, MaxWaitingSamples-5))
	q.Play(2, make([]int16, 10))
	q.Play(1, make([]int16, 10))
	if q.RefusedSamples != 15 {
		t.Fatal(q.RefusedSamples)
	}
	next(&q)
	q.Play(1, make([]int16, FrameSamples))
	if q.RefusedSamples != 15 {
		t.Fatal("what was sent leaves no room")
	}
	q.Flush()
	q.Play(3, make([]int16, MaxWaitingSamples))
	if q.RefusedSamples != 15 {
		t.Fatal("what was flushed leaves no room")
	}
}

func TestTooManyUtterancesAreRefused(t *testing.T) {
	var q Queue
	for number := range uint32(1_000) {
		q.Play(number+1, ramp(320, 1))
		q.End(number + 1)
	}
	frames, _ := drain(&q)
	if len(frames) != MaxOpen {
		t.Fatal(len(frames))
	}
}

func TestPausesAndResumesAnywhereLoseAndRepeatNothing(t *testing.T) {
	check := func(seed uint64) bool {
		random := rand.New(rand.NewPCG(seed, 1))
		var q Queue
		given := random.IntN(9_000) + 1
		played, taken, last := 0, 0, int64(-1)
		for range 400 {
			if n := min(random.IntN(1_500), given-played); n > 0 {
				q.Play(1, ramp(n, 1+played))
				if played += n; played == given {
					q.End(1)
				}
			}
			if random.IntN(4) == 0 {
				if events := q.Pause(); len(events) > 0 {
					if events[0] != (Event{Halted, 1, int64(taken)}) {
						return false
					}
					next(&q) // the fade
					if frame, _ := next(&q); frame != nil && taken > 0 {
						return false
					}
					q.Resume()
				}
			}
			frame, events := next(&q)
			if frame != nil {
				// The end of the frame is never faded. Past what was given it is silence.
				for i := FadeSamples; i < FrameSamples; i++ {
					want := int16(0)
					if taken+i < given {
						want = int16(1 + taken + i)
					}
					if frame[i] != want {
						return false
					}
				}
				taken = min(taken+FrameSamples, given)
			}
			for _, event := range events {
				if event.Kind == Last {
					last = event.Samples
				}
			}
		}
		return last == int64(given) && q.Idle() && q.RefusedSamples == 0
	}
	for seed := range uint64(300) {
		if !check(seed) {
			t.Errorf("seed %d", seed)
		}
	}
}

// FuzzQueue does anything in any order: each byte is one call, its high bits tell of which utterance or how much.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0x10, 0xf0, 5, 5, 2, 5, 3, 5, 1, 5, 4, 5})
	f.Fuzz(func(t *testing.T, script []byte) {
		var q Queue
		var frame [FrameSamples]int16
		pcm := constant(16*FrameSamples, 1_000)
		for _, b := range script {
			number, events := uint32(b>>4), []Event(nil)
			switch b & 7 {
			case 0, 7:
				q.Play(number, pcm[:int(b)*20])
			case 1:
				q.End(number)
			case 2:
				events = q.Pause()
			case 3:
				q.Resume()
			case 4:
				events = q.Flush()
			default:
				_, events = q.Next(&frame)
			}
			waiting := 0
			for i := range q.open {
				waiting += len(q.open[i].waiting())
				if i > 0 && q.open[i].number <= q.open[i-1].number {
					t.Fatal("out of order")
				}
			}
			if waiting != q.waiting || len(events) > 2 {
				t.Fatal(waiting, q.waiting, events)
			}
		}
		q.Resume()
		for i := range q.open {
			q.open[i].ended = true
		}
		drain(&q)
		if !q.Idle() {
			t.Fatal("it never ends")
		}
	})
}

// speak plays and sends one utterance of 2 s as it comes, with a pause in it.
func speak(q *Queue, number uint32, pcm []int16) {
	var frame [FrameSamples]int16
	for range 20 {
		q.Play(number, pcm)
		for range 5 {
			q.Next(&frame)
		}
	}
	q.Pause()
	q.Next(&frame)
	q.Resume()
	q.End(number)
	for !q.Idle() {
		q.Next(&frame)
	}
}

func TestSpeakingAllocatesNothing(t *testing.T) {
	var q Queue
	pcm := ramp(1_600, 1)
	number := uint32(0)
	if allocated := testing.AllocsPerRun(50, func() {
		number++
		speak(&q, number, pcm)
	}); allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

func BenchmarkSpeak2s(b *testing.B) {
	var q Queue
	pcm := ramp(1_600, 1)
	b.ReportAllocs()
	for number := uint32(1); b.Loop(); number++ {
		speak(&q, number, pcm)
	}
}

func TestReadyTellsWhetherNextHasSomething(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	var seen [2]int
	var q Queue
	for step := range 20_000 {
		number := uint32(1 + step/40 + random.IntN(2))
		switch random.IntN(7) {
		case 0, 1:
			q.Play(number, ramp(random.IntN(2*FrameSamples), 1))
		case 2:
			q.End(number)
		case 3:
			q.Pause()
		case 4:
			q.Resume()
		case 5:
			if random.IntN(10) == 0 {
				q.Flush()
			}
		default:
			ready := q.Ready()
			frame, events := next(&q)
			dry := len(events) == 1 && events[0].Kind == RanDry
			if has := frame != nil || len(events) > 0 && !dry; has != ready {
				t.Fatalf("step %d: ready is %v, but there came %d samples and %v", step, ready, len(frame), events)
			}
			if ready {
				seen[1]++
			} else {
				seen[0]++
			}
		}
	}
	if min(seen[0], seen[1]) < 100 {
		t.Fatalf("seen too rarely: %v", seen)
	}
}
