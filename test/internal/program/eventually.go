package program

import (
	"testing"
	"time"
)

// patience is how long a suite waits for what must come; no test depends on when it comes.
const patience = 2 * time.Minute

// Eventually waits on this goroutine until something is so.
func Eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
