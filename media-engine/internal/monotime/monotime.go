// Package monotime tells the instant on the machine's CLOCK_MONOTONIC.
//
// All processes of a machine share that clock, also those in other languages, so their instants may be subtracted.
package monotime

import (
	"time"

	"golang.org/x/sys/unix"
)

var (
	originTime = time.Now()
	originUs   = rawUs()
)

func rawUs() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("monotime: CLOCK_MONOTONIC can't be read: " + err.Error())
	}
	return now.Nano() / 1000
}

// Us is the present instant, in whole microseconds of CLOCK_MONOTONIC.
//
// Go's own monotonic clock is CLOCK_MONOTONIC with another origin, and is read without a system call.
func Us() int64 {
	return originUs + time.Since(originTime).Microseconds()
}

// Until is how long it is from now to an instant; negative if the instant has passed.
func Until(atUs int64) time.Duration {
	return time.Duration(atUs-Us()) * time.Microsecond
}
