package phone

import (
	"encoding/binary"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/media-engine/internal/monotime"
)

// controlBytes hold the kernel's timestamp of a datagram.
var controlBytes = unix.CmsgSpace(16)

// stampArrivals has the kernel tell when each datagram arrived, so that a phone that gets no processor for a while does
// not take its own delay for the network's. Where the kernel does not, the instant of reading it must do.
func stampArrivals(socket *net.UDPConn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
}

// clocksApartUs is more than lies between two readings of clocks, unless the program had to wait in between.
const clocksApartUs = 50

// clocks are the monotonic clock and the wall's in the same instant, as far as a busy machine lets them be read so.
func clocks() (us int64, wall time.Time) {
	for range 4 {
		us = monotime.Us()
		wall = time.Now()
		if monotime.Us()-us < clocksApartUs {
			break
		}
	}
	return us, wall
}

// arrivalUs is when a datagram arrived that was read just now, by the control message that came with it.
func arrivalUs(control []byte) int64 {
	nowUs, wall := clocks()
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return nowUs
	}
	for _, message := range messages {
		if message.Header.Level != unix.SOL_SOCKET || message.Header.Type != unix.SO_TIMESTAMPNS || len(message.Data) < 16 {
			continue
		}
		stamp := time.Unix(int64(binary.NativeEndian.Uint64(message.Data)), int64(binary.NativeEndian.Uint64(message.Data[8:])))
		// The kernel's clock is the wall's, which may be set meanwhile: then the stamp is worth nothing.
		if ago := wall.Round(0).Sub(stamp); ago >= 0 && ago < time.Second {
			return nowUs - ago.Microseconds()
		}
	}
	return nowUs
}
