package engine

import (
	"log/slog"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelWarn)
	RouteSDKLogs()
	os.Exit(m.Run())
}
