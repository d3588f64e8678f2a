package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// renderSums writes the file that sha256sum -c reads.
func renderSums(digests []Digest) []byte {
	var b strings.Builder
	for _, d := range digests {
		fmt.Fprintf(&b, "%s  %s\n", d.SHA256, d.Name)
	}
	return []byte(b.String())
}

// parseSums reads what renderSums wrote and nothing else, so that any change of it is noticed.
func parseSums(data []byte) (map[string]string, error) {
	sums := make(map[string]string)
	text, ok := strings.CutSuffix(string(data), "\n")
	if !ok {
		return nil, fmt.Errorf("it does not end with a newline")
	}
	for i, line := range strings.Split(text, "\n") {
		sum, name, ok := strings.Cut(line, "  ")
		raw, err := hex.DecodeString(sum)
		if !ok || err != nil || len(raw) != sha256.Size || sum != strings.ToLower(sum) {
			return nil, fmt.Errorf("line %d is not \"<sha256>  <name>\": %.100q", i+1, line)
		}
		if _, twice := sums[name]; twice {
			return nil, fmt.Errorf("line %d names %.100q again", i+1, name)
		}
		sums[name] = sum
	}
	return sums, nil
}

// ReadSums returns the SHA256SUMS of a bundle's directory, and the digests in it by the names of the files.
func ReadSums(dir string) (data []byte, digests map[string]string, err error) {
	path := filepath.Join(dir, SumsName)
	if data, err = readSums(path); err == nil {
		digests, err = parseSums(data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %q: %w", path, err)
	}
	return data, digests, nil
}

func digest(name string, data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest{Name: name, Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}
