package bucket

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// The folders below the prefix.
const (
	namesFolder = "names/"
	dataFolder  = "data/"
	tombsFolder = "tombs/"
	probeFolder = "probe/"
	docSuffix   = ".json"
)

func (b *Bucket) nameKey(place string) string {
	return b.prefix + namesFolder + escapePlace(place) + docSuffix
}

// claimKey is the name of one archive of a place, where the store cannot keep names apart.
func (b *Bucket) claimKey(place, archive string) string {
	return b.claims(place) + archive + docSuffix
}

func (b *Bucket) claims(place string) string {
	return b.prefix + namesFolder + escapePlace(place) + "/"
}

func (b *Bucket) tombKey(place string) string {
	return b.prefix + tombsFolder + escapePlace(place) + docSuffix
}

func (b *Bucket) dataKey(place, file string) string {
	return b.prefix + dataFolder + escapePlace(place) + "/" + file
}

// escapePlace writes what some store, tool or gateway stumbles over as %XX, also an ending .json of a folder, so
// that no folder has the name of an object.
func escapePlace(place string) string {
	segments := strings.Split(place, "/")
	for i, s := range segments {
		segments[i] = escape(s)
		if base, ok := strings.CutSuffix(s, docSuffix); ok && i < len(segments)-1 {
			segments[i] = escape(base) + "%2Ejson"
		}
	}
	return strings.Join(segments, "/")
}

func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if strings.ContainsRune("\\%{}^`[]\"<>#|?*&+;", r) || !unicode.IsPrint(r) || r == utf8.RuneError {
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

// placeOfName returns the place that the key of a name or a tomb is of; it is false for anything else.
func (b *Bucket) placeOfName(key, folder string) (string, bool) {
	rest, below := strings.CutPrefix(key, b.prefix+folder)
	rest, doc := strings.CutSuffix(rest, docSuffix)
	if !below || !doc {
		return "", false
	}
	if dir, last := path.Split(rest); b.claiming && folder == namesFolder && isDigest(last) {
		rest = strings.TrimSuffix(dir, "/")
	}
	return unescape(rest)
}

// datum is where an object of data belongs.
type datum struct {
	place   string
	archive string // D
	sums    string // S; "" for the archive itself
	file    string
}

// parseData reads the key of an object of data; it is false for anything else.
func (b *Bucket) parseData(key string) (datum, bool) {
	rest, below := strings.CutPrefix(key, b.prefix+dataFolder)
	parts := strings.Split(rest, "/")
	n := len(parts)
	d := datum{file: parts[n-1]}
	switch {
	case !below:
		return d, false
	case d.file == bundle.ArchiveName && n >= 3 && isDigest(parts[n-2]):
		d.archive, parts = parts[n-2], parts[:n-2]
	case n >= 4 && isDigest(parts[n-2]) && isDigest(parts[n-3]):
		d.archive, d.sums, parts = parts[n-3], parts[n-2], parts[:n-3]
	default:
		return d, false
	}
	var ok bool
	d.place, ok = unescape(strings.Join(parts, "/"))
	return d, ok
}

// isProbe tells whether a key is one that a probe uses: probe/<random>/<name>.
func (b *Bucket) isProbe(key string) bool {
	rest, below := strings.CutPrefix(key, b.prefix+probeFolder)
	folder, name, _ := strings.Cut(rest, "/")
	return below && len(folder) >= len(rand.Text()) && strings.Trim(folder, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" && slices.Contains(probeNames, name)
}

func isDigest(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && s == strings.ToLower(s)
}
