package daemon

import (
	"crypto/sha256"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/snapshot"
)

// maxConfigs is how many bytes of config files are kept for the pending sets of one watch. The sets of a run
// share theirs. Beyond it, it is not told whether the config changed between the members of a set.
const maxConfigs = 64 << 20

// sweepEach is the shortest time between two looks for content that no set needs any more.
const sweepEach = time.Minute

// configs keeps the content of config files once.
type configs struct {
	content map[[sha256.Size]byte][]byte
	size    int
	swept   time.Time
}

// keep returns files whose content is shared, nil when there is no room for more.
func (c *configs) keep(files []snapshot.File, t *table, now time.Time) []snapshot.File {
	if c.missing(files)+c.size > maxConfigs {
		if now.Sub(c.swept) < sweepEach {
			return nil
		}
		c.sweep(t)
		c.swept = now
		if c.missing(files)+c.size > maxConfigs {
			return nil
		}
	}
	if c.content == nil {
		c.content = make(map[[sha256.Size]byte][]byte)
	}
	for i := range files {
		f := &files[i]
		data, known := c.content[f.SHA256]
		if !known {
			data = f.Data
			c.content[f.SHA256] = data
			c.size += len(data)
		}
		f.Data = data
	}
	return files
}

// missing returns how many bytes of content are new.
func (c *configs) missing(files []snapshot.File) int {
	n := 0
	for _, f := range files {
		if _, known := c.content[f.SHA256]; !known {
			n += len(f.Data)
		}
	}
	return n
}

// sweep forgets what no set needs.
func (c *configs) sweep(t *table) {
	c.content, c.size = make(map[[sha256.Size]byte][]byte), 0
	for _, s := range t.Sets() {
		for _, f := range s.State.pending().first {
			if _, known := c.content[f.SHA256]; !known {
				c.content[f.SHA256] = f.Data
				c.size += len(f.Data)
			}
		}
	}
}

// digests are files without their content, to tell whether they change.
func digests(files []snapshot.File) []snapshot.File {
	if files == nil {
		return nil
	}
	bare := make([]snapshot.File, len(files))
	for i, f := range files {
		bare[i] = snapshot.File{Path: f.Path, Name: f.Name, SHA256: f.SHA256}
	}
	return bare
}
