//go:build !purego

package twinsum

import "golang.org/x/sys/cpu"

// blocks takes whole blocks of 64 bytes into both states.
//
//go:noescape
func blocks(a, b *[8]uint32, data []byte)

// features returns EBX of CPUID leaf 7, 0 when the processor has none.
func features() (ebx7 uint32)

// twin tells whether the processor has the instructions that blocks uses.
var twin = func() bool {
	ebx7 := features()
	const sha = 1 << 29 // Intel SDM, volume 2, CPUID leaf 7
	return cpu.X86.HasAVX && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3 && ebx7&sha != 0
}()
