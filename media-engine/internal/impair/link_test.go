package impair

import (
	"math"
	"slices"
	"testing"
)

const packets = 200_000

// out is a packet that came out, by its number.
type out struct {
	number int
	us     int64
}

// travel pushes packets every 20 ms and pops what comes out, each 5 ms.
func travel(network Network, seed uint64, count int) ([]out, LinkStats) {
	link := NewSent[int](Config{Seed: seed, Sent: network})
	var all []out
	for us := int64(0); us < int64(count)*20_000+10_000_000; us += 5_000 {
		if number := us / 20_000; us%20_000 == 0 && number < int64(count) {
			link.Push(int(number), us)
		}
		for {
			number, outUs, ok := link.Pop(us)
			if !ok {
				break
			}
			all = append(all, out{number, outUs})
		}
	}
	return all, link.Stats()
}

func numbers(all []out) []int {
	list := make([]int, len(all))
	for i, each := range all {
		list[i] = each.number
	}
	return list
}

func missing(all []out, count int) []int {
	came := make([]bool, count)
	for _, each := range all {
		came[each.number] = true
	}
	var lost []int
	for number, there := range came {
		if !there {
			lost = append(lost, number)
		}
	}
	return lost
}

// expect checks a count of things that happen to each packet with a chance, within five standard deviations.
// Those of bursts deviate more: by the square root of wider.
func expect(t *testing.T, what string, count int, chance, wider float64) {
	t.Helper()
	mean := packets * chance
	if off := math.Abs(float64(count) - mean); off > 5*math.Sqrt(mean*(1-chance)*wider) {
		t.Errorf("%d of %d %s, want about %.0f", count, packets, what, mean)
	}
}

func TestAPerfectNetworkChangesNothing(t *testing.T) {
	all, stats := travel(Network{}, 1, 1000)
	if stats != (LinkStats{Pushed: 1000}) || len(all) != 1000 {
		t.Fatalf("%d came out, %+v", len(all), stats)
	}
	for i, each := range all {
		if each != (out{i, int64(i) * 20_000}) {
			t.Fatalf("packet %d came out as %+v", i, each)
		}
	}
}

func TestLossOfEachPacketByItself(t *testing.T) {
	all, stats := travel(Network{Loss: 0.05}, 1, packets)
	lost := missing(all, packets)
	expect(t, "were lost", len(lost), 0.05, 1)
	pairs := 0
	for i := 1; i < len(lost); i++ {
		if lost[i] == lost[i-1]+1 {
			pairs++
		}
	}
	expect(t, "were lost in a row", pairs, 0.05*0.05, 1)
	if stats.Lost != uint64(len(lost)) {
		t.Errorf("%d were lost, but %+v", len(lost), stats)
	}
}

func TestBurstsAreAsLongAndAsManyAsTold(t *testing.T) {
	for _, burst := range []float64{1, 2, 4, 10} {
		all, _ := travel(Network{Loss: 0.05, Burst: burst}, 1, packets)
		lost := missing(all, packets)
		runs := 0
		for i := range lost {
			if i == 0 || lost[i] != lost[i-1]+1 {
				runs++
			}
		}
		alike := 1 - 1/burst - 0.05/(burst*0.95) // how alike neighbours are
		expect(t, "were lost", len(lost), 0.05, max(1, (1+alike)/(1-alike)))
		if mean := float64(len(lost)) / float64(runs); math.Abs(mean-burst) > 5*burst/math.Sqrt(float64(runs)) {
			t.Errorf("%d bursts of %.2f packets on average, want %g", runs, mean, burst)
		}
	}
}

func TestAllOrNothingIsLost(t *testing.T) {
	if all, _ := travel(Network{Loss: 1}, 1, 1000); len(all) != 0 {
		t.Errorf("%d of all lost packets came out", len(all))
	}
}

func TestJitterKeepsOrderAndItsLimit(t *testing.T) {
	for _, each := range []struct {
		network   Network
		limitMs   int
		mean, dev float64 // of what is drawn, in ms
	}{
		{Network{JitterMs: 40}, 40, 20, 11.5},
		{Network{JitterMs: 10, JitterShape: Normal, DelayMs: 50}, 30, 7.95, 6},
		{Network{JitterMs: 10, JitterShape: Exponential, JitterLimitMs: 100}, 100, 10, 10},
	} {
		link := NewSent[int](Config{Seed: 3, Sent: each.network})
		var sum, n float64
		last := int64(0)
		for i := range 20_000 {
			sentUs := int64(i) * 1_000_000 // so far apart that none waits for another
			link.Push(i, sentUs)
			number, us, ok := link.Pop(sentUs + 900_000)
			delayUs := us - sentUs - int64(each.network.DelayMs)*1000
			if !ok || number != i || us < last || delayUs < 0 || delayUs > int64(each.limitMs)*1000 {
				t.Fatalf("%+v: packet %d came out as %d after %d us, %v", each.network, i, number, delayUs, ok)
			}
			last = us
			sum += float64(delayUs) / 1000
			n++
		}
		if mean := sum / n; math.Abs(mean-each.mean) > 5*each.dev/math.Sqrt(n) {
			t.Errorf("%+v: %.2f ms on average, want %.2f", each.network, mean, each.mean)
		}
		if all, _ := travel(each.network, 3, 5000); !slices.IsSorted(numbers(all)) {
			t.Errorf("%+v: packets overtook each other", each.network)
		}
	}
}

func TestReorderedPacketsAreOvertaken(t *testing.T) {
	all, stats := travel(Network{Reorder: 0.1, JitterMs: 5}, 1, packets)
	late := 0
	newest := -1
	for _, each := range all {
		if each.number < newest {
			late++
		}
		newest = max(newest, each.number)
	}
	expect(t, "were held up", int(stats.Reordered), 0.1, 1)
	// One that is held up is not overtaken by the next where that is held up too, and comes later.
	expect(t, "were overtaken", late, 0.1*0.9, 1)
	if len(all) != packets {
		t.Errorf("%d came out", len(all))
	}
}

func TestDuplicatesFollowAtOnce(t *testing.T) {
	all, stats := travel(Network{Duplicate: 0.1, Loss: 0.2, JitterMs: 30}, 1, packets)
	doubled := 0
	for i := 1; i < len(all); i++ {
		if all[i].number == all[i-1].number {
			doubled++
		}
	}
	expect(t, "came twice", doubled, 0.1*0.8, 1)
	if stats.Duplicated != uint64(doubled) || len(all) != packets-int(stats.Lost)+doubled {
		t.Errorf("%d of %d came twice, but %+v", doubled, len(all), stats)
	}
}

func TestASeedDecidesAll(t *testing.T) {
	network := Network{Loss: 0.05, Burst: 3, JitterMs: 40, JitterShape: Normal, Reorder: 0.05, Duplicate: 0.02}
	once, _ := travel(network, 7, 5000)
	again, _ := travel(network, 7, 5000)
	if !slices.Equal(once, again) {
		t.Error("the same seed gives other packets")
	}
	other, _ := travel(network, 8, 5000)
	if slices.Equal(missing(once, 5000), missing(other, 5000)) {
		t.Error("another seed loses the same packets")
	}
	calm, _ := travel(Network{Loss: 0.05, Burst: 3}, 7, 5000)
	if !slices.Equal(missing(once, 5000), missing(calm, 5000)) {
		t.Error("jitter, reordering and duplicates change which packets are lost")
	}
	back := NewReceived[int](Config{Seed: 7, Received: network})
	var lostBack []int
	for i := range 5000 {
		if !back.Push(i, int64(i)*20_000) {
			lostBack = append(lostBack, i)
		}
		back.Pop(math.MaxInt64)
	}
	if slices.Equal(lostBack, missing(once, 5000)) {
		t.Error("both directions lose the same packets")
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	link := NewSent[int](Config{Sent: Network{DelayMs: 2000, Duplicate: 1}})
	for i := range 1000 {
		link.Push(i, 0)
	}
	if stats := link.Stats(); stats.Overflowed == 0 || len(link.waiting) != maxWaiting {
		t.Fatalf("%d wait, %+v", len(link.waiting), stats)
	}
	count := 0
	for {
		if us, ok := link.NextUs(); ok && us != 2_000_000 {
			t.Fatalf("the next is out at %d us", us)
		}
		if _, _, ok := link.Pop(2_000_000); !ok {
			break
		}
		count++
	}
	if _, ok := link.NextUs(); ok || count != maxWaiting {
		t.Errorf("%d came out, and one is left: %v", count, ok)
	}
}
