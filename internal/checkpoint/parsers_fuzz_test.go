package checkpoint

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// fuzzOpener fuzzes the reader of one format with files that its library wrote. What is refused is refused for
// a reason that is the file's: reading from memory never fails.
func fuzzOpener(f *testing.F, open opener, seeds ...string) {
	for _, file := range seeds {
		f.Add(testdata(f, file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 16 {
			return // told apart before
		}
		c, err := open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			var b *Broken
			require.ErrorAs(t, err, &b)
			return
		}
		for _, tensor := range c.tensors {
			require.LessOrEqual(t, tensor.Bytes, int64(len(data)))
		}
	})
}

func FuzzSafeTensors(f *testing.F) {
	fuzzOpener(f, openSafeTensors, "plain.safetensors", "small.safetensors", "empty.safetensors")
}

func FuzzNPY(f *testing.F) {
	fuzzOpener(f, openNPY, "fortran.npy", "structured.npy", "objects.npy", "two.npy", "dates.npy", "scalar.npy", "text.npy")
}

func FuzzGGUF(f *testing.F) { fuzzOpener(f, openGGUF, "plain.gguf", "big.gguf") }

func FuzzHDF5(f *testing.F) {
	fuzzOpener(f, openHDF5, "superblock0.h5", "superblock2.h5", "superblock3.h5")
}

func FuzzPickle(f *testing.F) {
	fuzzOpener(f, openOther, "plain0.pkl", "plain2.pkl", "plain5.pkl", "numpy.pkl")
}

func FuzzTar(f *testing.F) { fuzzOpener(f, openTar, "legacy_tar.pt") }

func FuzzZip(f *testing.F) {
	fuzzOpener(f, openZip, "plain.npz", "compressed.npz", "objects.npz", "model.keras", "deflated.keras", "sb3.zip")
}
