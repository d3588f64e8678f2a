package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Memory is for training: garbage is collected once the heap has grown by a quarter, and before the program takes much
// more than usualMemory.
const (
	growth      = 25       // per cent
	usualMemory = 44 << 20 // bytes of the Go runtime; the program itself, which is mapped, takes some 12 MiB more
	usualInUse  = 38 << 20 // bytes of the heap: with more in use, collecting again and again would be in vain
)

// startGrowth is the growth, in per cent, while the daemon lists its roots for the first time. What it learns then is kept, so that
// collecting often frees little.
const startGrowth = 50

// roomToStart sets the limits for a start; saveMemoryAgain ends that.
func roomToStart() {
	debug.SetGCPercent(startGrowth)
	debug.SetMemoryLimit(math.MaxInt64)
}

// saveMemoryAgain sets the limits as saveMemory does, and gives back what the start does not need any more.
func saveMemoryAgain() {
	debug.SetGCPercent(growth)
	if heapInUse() <= usualInUse {
		debug.SetMemoryLimit(usualMemory)
	}
	debug.FreeOSMemory()
}

// saveMemory sets the limits, and lifts that of usualMemory whenever more is in use.
func saveMemory() {
	debug.SetGCPercent(growth)
	debug.SetMemoryLimit(usualMemory)
	afterCollection(false)
}

// collected is what goes away with the next collection: not a tiny object, which may share its memory with others.
type collected struct{ _ [32]byte }

func afterCollection(lifted bool) {
	runtime.AddCleanup(&collected{}, func(lifted bool) {
		tooMuch := heapInUse() > usualInUse
		if tooMuch && !lifted {
			debug.SetMemoryLimit(math.MaxInt64)
		} else if !tooMuch && lifted {
			debug.SetMemoryLimit(usualMemory)
		}
		afterCollection(tooMuch)
	}, lifted)
}

// heapInUse returns the bytes that the last collection found in use.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
