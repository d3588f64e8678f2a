package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// Memory is for training: garbage is collected once the heap has grown by a quarter, and before the program takes much
// more than usualMemory. A heap of which more than usualInUse is in use has no such bound, and then the growth alone is what
// calls for a collection, not that two minutes have passed: with a large tree it would be most of what a daemon at rest does.
const (
	growth      = 25       // per cent
	usualMemory = 44 << 20 // bytes of the Go runtime; the program itself, which is mapped, takes some 12 MiB more
	usualInUse  = 38 << 20 // bytes of the heap: with more in use, collecting again and again would be in vain
)

// startGrowth is the growth, in per cent, while the daemon lists its roots for the first time. What it learns then is kept, so that
// collecting often frees little.
const startGrowth = 30

// starting tells that startGrowth is in force.
var starting atomic.Bool

// saveMemory sets the limits, now and after each collection.
func saveMemory() {
	usualLimits()
	afterCollection(false)
}

func usualLimits() {
	debug.SetGCPercent(growth)
	debug.SetMemoryLimit(usualMemory)
}

// roomToStart sets the limits for a start; endOfStart ends that.
func roomToStart() {
	starting.Store(true)
	debug.SetGCPercent(startGrowth)
	debug.SetMemoryLimit(math.MaxInt64)
}

// endOfStart gives back what the start does not need any more.
func endOfStart() {
	starting.Store(false)
	debug.SetGCPercent(growth)
	debug.FreeOSMemory()
}

// collected is what goes away with the next collection: not a tiny object, which may share its memory with others.
type collected struct{ _ [32]byte }

// afterCollection sets the limits anew after the next collection. large tells that those of a large heap are in force.
func afterCollection(large bool) {
	runtime.AddCleanup(&collected{}, func(large bool) {
		live, rest := memoryInUse()
		switch {
		case starting.Load():
			large = true // whatever follows sets both limits
		case live > usualInUse:
			large = true
			debug.SetMemoryLimit(int64(rest + live*(100+growth)/100))
			debug.SetGCPercent(-1)
		case large:
			large = false
			usualLimits()
		}
		afterCollection(large)
	}, large)
}

// memoryInUse returns the bytes that the last collection found in use, and what the runtime takes besides objects.
func memoryInUse() (live, rest uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	rest = samples[1].Value.Uint64()
	for _, s := range samples[2:] {
		rest -= s.Value.Uint64()
	}
	return samples[0].Value.Uint64(), rest
}
