package twinsum

import (
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever was added before, in whatever pieces, both sums are those of crypto/sha256.
func TestSumsAreThoseOfSHA256(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		a, b, wantA, wantB := sha256.New(), sha256.New(), sha256.New(), sha256.New()
		add := func(data []byte, hashes ...hash.Hash) {
			for _, h := range hashes {
				h.Write(data)
			}
		}
		before := random(r, r.IntN(200))
		add(before, a, wantA)
		other := random(r, r.IntN(200))
		if round%2 == 0 {
			other = random(r, len(before)+64*r.IntN(3)) // at the same place of a block
		}
		add(other, b, wantB)
		for range 1 + r.IntN(5) {
			data := random(r, r.IntN(3*worthwhile))
			Write(a, b, data)
			add(data, wantA, wantB)
		}
		require.Equal(t, wantA.Sum(nil), a.Sum(nil))
		require.Equal(t, wantB.Sum(nil), b.Sum(nil))
	}
}

// Every way of this processor is tried, whichever is the fastest.
func TestKernels(t *testing.T) {
	all := kernels()
	if len(all) == 0 {
		t.Skip("this processor has no instructions for SHA-256, or is of another kind")
	}
	require.NotNil(t, fastest().kernel.take)
	r := rand.New(rand.NewPCG(3, 4))
	for i, k := range all {
		for whole := range 40 {
			begun := r.IntN(blockSize)
			a, b, wantA, wantB := sha256.New(), sha256.New(), sha256.New(), sha256.New()
			for _, h := range []hash.Hash{a, wantA} {
				h.Write(make([]byte, begun))
			}
			for _, h := range []hash.Hash{b, wantB} {
				h.Write(make([]byte, blockSize+begun))
			}
			data := random(r, blockSize+whole*blockSize+r.IntN(blockSize))
			wantA.Write(data)
			wantB.Write(data)
			rest := k.write(a, b, data)
			require.Less(t, len(rest), k.size, "kernel %d", i)
			a.Write(rest)
			b.Write(rest)
			require.Equal(t, wantA.Sum(nil), a.Sum(nil), "kernel %d", i)
			require.Equal(t, wantB.Sum(nil), b.Sum(nil), "kernel %d", i)
			b.Write([]byte("x"))
			require.Len(t, k.write(a, b, data), len(data), "at another place of a block")
		}
	}
}

func random(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func BenchmarkKernels(b *testing.B) {
	for i, k := range kernels() {
		b.Run(strconv.Itoa(i), func(b *testing.B) {
			data := make([]byte, 1<<19)
			b.SetBytes(int64(len(data)))
			x, y := sha256.New(), sha256.New()
			for b.Loop() {
				k.write(x, y, data)
			}
		})
	}
}

func BenchmarkOne(b *testing.B) {
	data := make([]byte, 1<<19)
	b.SetBytes(int64(len(data)))
	x := sha256.New()
	for b.Loop() {
		x.Write(data)
	}
}
