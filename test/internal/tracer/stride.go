package tracer

import (
	"os"
	"strconv"
)

// Stride is how many calls lie between two points at which a program is interrupted: 1 for all of them. It is the usual one where
// BUNDLEWATCH_STRIDE says nothing else.
func Stride(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("BUNDLEWATCH_STRIDE")); err == nil && n > 0 {
		return n
	}
	return usual
}
