package engine

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
)

const (
	costLegsEnv    = "TRUNKLINE_COST_LEGS"
	costProgramEnv = "TRUNKLINE_COST_PROGRAM"
	costSeconds    = 20
)

// engineProcess is the program, with a worker of the test.
func engineProcess(t *testing.T) (*fakeWorker, int) {
	t.Helper()
	ours, theirs := socketPair(t)
	file, err := theirs.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Getenv(costProgramEnv), "--fd", "3")
	command.Stderr = os.Stderr
	command.ExtraFiles = []*os.File{file}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	theirs.Close()
	w := newWorker(t, ours)
	go func() { w.ended <- command.Wait() }()
	w.work()
	return w, command.Process.Pid
}

// cpuTicks is what a process has used so far, in hundredths of a second.
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+2:])
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return user + system
}

func memory(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "?"
}

// TestCost tells what a leg costs, each talking 30 % of the time: agents in one process, callers in another.
func TestCost(t *testing.T) {
	legs, err := strconv.Atoi(os.Getenv(costLegsEnv))
	if err != nil {
		t.Skip(costLegsEnv + " does not say how many legs, and " + costProgramEnv + " which trunkline-media")
	}
	s := startSFU(t)
	agents, agentsPID := engineProcess(t)
	callers, callersPID := engineProcess(t)
	for i := range uint32(legs) {
		room := fmt.Sprint("call-", i+1)
		callers.tell(i+1, join(s.url, s.token(room, "caller", livekit.ParticipantInfo_SIP)))
		agents.tell(i+1, join(s.url, s.token(room, "agent", livekit.ParticipantInfo_AGENT)))
		callers.until(i+1, "joined")
		agents.until(i+1, "joined")
		callers.tell(i+1, listenTo("agent"))
		agents.tell(i+1, listenTo("caller"))
		callers.tell(i+1, publish())
		agents.tell(i+1, publish())
	}
	for i := range uint32(legs) {
		callers.until(i+1, "track_heard")
		agents.until(i+1, "track_heard")
	}
	pids := map[string]int{"agents": agentsPID, "callers": callersPID, "server": s.run.Process.Pid}
	before := map[string]int{}
	for name, pid := range pids {
		before[name] = cpuTicks(t, pid)
	}
	talk := tone(3 * 16000)
	ticks, begun := agents.ticks, time.Now()
	for second := range costSeconds {
		for i := range uint32(legs) {
			// Of 10 s: 3 s of the caller, 2 s of nobody, 3 s of the agent.
			for at, w := range map[uint32]*fakeWorker{0: callers, 5: agents} {
				if (uint32(second)+i)%10 == at {
					w.tell(i+1, saying(uint32(second)+1, talk))
					w.tell(i+1, end(uint32(second)+1))
				}
			}
		}
		time.Sleep(time.Until(begun.Add(time.Duration(second+1) * time.Second)))
	}
	seconds := time.Since(begun).Seconds()
	for name, pid := range pids {
		used := float64(cpuTicks(t, pid)-before[name]) * 10
		t.Logf("%-8s %6.2f mcore a leg, %s", name, used/seconds/float64(legs), memory(pid))
	}
	agents.tell(0, askStats())
	t.Logf("agents: %v", agents.until(0, "stats").GetStats())
	agents.mu.Lock()
	t.Logf("%d messages with frames in %.1f s", agents.ticks-ticks, seconds)
	agents.mu.Unlock()
}
