package twinsum

import (
	"crypto/sha256"
	"hash"
	"math/rand/v2"
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

func TestTwinIsUsedWhereItCanBe(t *testing.T) {
	if !twin {
		t.Skip("this processor has no instructions for SHA-256, or is of another kind")
	}
	a, b := sha256.New(), sha256.New()
	a.Write([]byte("x"))
	b.Write(make([]byte, 65))
	require.Len(t, writeBlocks(a, b, make([]byte, worthwhile)), 1)
	b.Write([]byte("x"))
	require.Len(t, writeBlocks(a, b, make([]byte, worthwhile)), worthwhile)
}

func random(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func BenchmarkWrite(b *testing.B) {
	data := make([]byte, 1<<19)
	b.SetBytes(int64(len(data)))
	x, y := sha256.New(), sha256.New()
	for b.Loop() {
		Write(x, y, data)
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
