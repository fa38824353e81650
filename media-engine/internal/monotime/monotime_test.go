package monotime

import (
	"testing"
	"time"
)

func TestSharesTheClockOfOtherProcesses(t *testing.T) {
	before, now, after := rawUs(), Us(), rawUs()
	if now < before-50 || now > after+50 {
		t.Fatalf("Us() = %d, CLOCK_MONOTONIC between %d and %d", now, before, after)
	}
}

func TestUntilCountsDown(t *testing.T) {
	if left := Until(Us() + 1_000_000); left > time.Second || left < 900*time.Millisecond {
		t.Fatalf("Until(now+1s) = %v", left)
	}
	if Until(Us()-1000) >= 0 {
		t.Fatal("an instant in the past is not negative")
	}
}
