package phone

import (
	"net"
	"testing"
	"time"

	"github.com/trunkline/trunkline/media-engine/internal/monotime"
)

func TestADatagramArrivedWhenTheKernelGotItNotWhenItWasRead(t *testing.T) {
	t.Parallel()
	socket, peer := listen(t), listen(t)
	stampArrivals(socket)
	beforeUs := monotime.Us()
	if _, err := peer.WriteToUDPAddrPort([]byte{1}, socket.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	sentUs := monotime.Us()
	time.Sleep(50 * time.Millisecond)
	control := make([]byte, controlBytes)
	_, size, _, _, err := socket.ReadMsgUDPAddrPort(make([]byte, 10), control)
	if err != nil {
		t.Fatal(err)
	}
	if us := arrivalUs(control[:size]); us < beforeUs-1000 || us > sentUs+1000 {
		t.Errorf("arrived at %d, sent between %d and %d", us, beforeUs, sentUs)
	}
	if us := arrivalUs(nil); us < sentUs+50_000 {
		t.Errorf("without a stamp it arrived at %d", us)
	}
}
