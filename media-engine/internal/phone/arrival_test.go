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
	// The first socket that asks for stamps gets none for some milliseconds, as the kernel turns them on in its own time.
	for range 50 {
		beforeUs := monotime.Us()
		if _, err := peer.WriteToUDPAddrPort([]byte{1}, socket.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			t.Fatal(err)
		}
		sentUs := monotime.Us()
		time.Sleep(30 * time.Millisecond)
		control := make([]byte, controlBytes)
		_, size, _, _, err := socket.ReadMsgUDPAddrPort(make([]byte, 10), control)
		if err != nil {
			t.Fatal(err)
		}
		if us := arrivalUs(nil); us < sentUs+30_000 {
			t.Fatalf("without a stamp it arrived at %d, before it was read", us)
		}
		if us := arrivalUs(control[:size]); us >= beforeUs-1000 && us <= sentUs+1000 {
			return
		}
	}
	t.Error("the kernel's stamps are not used")
}
