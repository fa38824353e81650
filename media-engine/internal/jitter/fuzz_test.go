package jitter

import (
	"encoding/binary"
	"testing"
)

// play does what a fuzzer's script says. Each packet takes 8 bytes of it:
//
//	0    the ms before it; a tick is pulled whenever 20 ms have passed
//	1    0 to 3: byte 2 is how many packets, byte 3 how many times 20 ms are left out before it
//	2-3  else the sequence number
//	4-7  and the timestamp; bytes 6 and 7, none to both, are the payload
func play(t *testing.T, script []byte) {
	b := New(Config{})
	var (
		nowUs, tickUs int64
		seq           uint16
		timestamp     uint32
		pushed, heard uint64
		longMs        int
	)
	for ; len(script) >= 8; script = script[8:] {
		nowUs += int64(script[0]) * 1000
		for ; tickUs <= nowUs; tickUs += 20_000 {
			for ms, pulls := 0, 0; ms < 20; pulls++ {
				out := b.Pull(tickUs)
				if out.Ms <= 0 || out.Ms%10 != 0 || out.Ms > 120 || pulls > 2 {
					t.Fatalf("%d pulls, %+v", pulls, out)
				}
				if (out.Payload != nil) != (out.Kind == Packet || out.Kind == FEC) {
					t.Fatalf("%+v", out)
				}
				if out.Kind == Rest {
					longMs -= out.Ms
				}
				if out.Kind == Packet {
					heard++
				}
				ms += out.Ms
				if ms > 20 {
					longMs += ms - 20
				}
			}
			if longMs < 0 || longMs > 120 {
				t.Fatalf("%d ms are owed", longMs)
			}
		}
		if script[1] < 4 {
			seq += 1 + uint16(script[2])
			timestamp += 960 * uint32(1+script[3])
		} else {
			seq, timestamp = binary.BigEndian.Uint16(script[2:]), binary.BigEndian.Uint32(script[4:])
		}
		b.Push(seq, timestamp, script[6:6+script[1]%3], nowUs)
		pushed++
		if len(b.waiting) > maxPackets || cap(b.waiting) > maxPackets {
			t.Fatalf("%d packets wait", len(b.waiting))
		}
		for i := 1; i < len(b.waiting); i++ {
			if b.waiting[i].at <= b.waiting[i-1].at {
				t.Fatal("out of order")
			}
		}
	}
	s := b.Stats()
	if s.Received != pushed || heard+s.Late+s.Duplicate+s.Skipped > pushed {
		t.Fatalf("%d pushed, %d heard, %+v", pushed, heard, s)
	}
	// However it was treated, it plays an honest stream within three seconds.
	for n := range 200 {
		nowUs += 20_000
		seq, timestamp = seq+1, timestamp+960
		b.Push(seq, timestamp, voice(n), nowUs)
		if out := b.Pull(nowUs + 5_000); n > 150 && out.Kind != Packet && out.Kind != Rest {
			t.Fatalf("packet %d of an honest stream: %+v, %+v", n, out, b.Stats())
		}
	}
}

func FuzzBuffer(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(play)
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{silkByte0, 0xc0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if ms := durationMs(payload); ms < 0 || ms > 120 || ms%10 != 0 {
			t.Fatal(ms)
		}
		carriesCopy(payload)
	})
}
