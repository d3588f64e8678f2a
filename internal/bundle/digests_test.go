package bundle

import (
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/archivefile"
)

// Whether the digests of entries are left to another goroutine or not, they are those of crypto/sha256.
func TestDigestsAreThoseOfSHA256(t *testing.T) {
	for name, apart := range map[string]bool{"together": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var told int64
			d := newDigests(100_000, apart, func(n int64) { told += n })
			whole, parts := sha256.New(), newPartSums(100_000)
			var got, want []hash.Hash
			free := make(chan *block, 64)
			for range 64 {
				b := &block{Block: archivefile.NewBlock(), free: free}
				b.pending.Store(d.users())
				for range 1 + r.IntN(3) {
					data := make([]byte, r.IntN(50_000))
					for i := range data {
						data[i] = byte(r.Uint32())
					}
					whole.Write(data)
					_, _ = parts.Write(data)
					if r.IntN(4) == 0 {
						d.add(data, nil)
						continue
					}
					if len(got) == 0 || r.IntN(3) == 0 {
						got, want = append(got, sha256.New()), append(want, sha256.New())
					}
					want[len(want)-1].Write(data)
					d.add(data, got[len(got)-1])
				}
				d.seal(b)
			}
			d.settle()
			for i := range want {
				require.Equal(t, want[i].Sum(nil), got[i].Sum(nil))
			}
			d.finish()
			require.Equal(t, whole.Sum(nil), d.archive.Sum(nil))
			require.Equal(t, parts.finish(), d.parts.finish())
			require.Len(t, free, 64)
			require.Positive(t, told)
		})
	}
}
