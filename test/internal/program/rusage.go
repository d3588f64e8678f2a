package program

import (
	"os"
	"syscall"
)

// maxRSS returns the peak of the resident set in bytes; getrusage(2) counts it in KiB.
func maxRSS(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}
