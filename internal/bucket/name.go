package bucket

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// layoutVersion is the version of what is in a bucket.
const layoutVersion = 1

// maxDoc bounds a name and a tomb, in bytes.
const maxDoc = 4 << 10

// Name is what is published of a bundle: an object of at most 4 KiB.
type Name struct {
	Layout    int       `json:"layout"`
	Place     string    `json:"place"`
	Archive   string    `json:"archive"` // SHA-256 of the archive, in hex
	Sums      string    `json:"sums"`    // SHA-256 of SHA256SUMS, in hex
	Files     []Stored  `json:"files"`   // below data/<place>/; the archive first
	Key       string    `json:"key"`     // as in the manifest, as what follows
	Version   int       `json:"version"`
	Run       string    `json:"run"`
	Published time.Time `json:"published"`
	Host      string    `json:"host"`  // that made the name
	Time      time.Time `json:"time"`  // when, by its clock
	Nonce     string    `json:"nonce"` // tells two names of one host apart
}

// Stored is a file of a bundle as the store has it.
type Stored struct {
	Path   string `json:"path"` // <D>/wts.h5.zip, or <D>/<S>/<name>
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// PartSize and Composite are those of the upload that made the name, where it had parts. Another host may have
	// replaced the object by the same bytes in other parts.
	PartSize  int64  `json:"part_size,omitempty"`
	Composite string `json:"composite,omitempty"`
	// MD5 is the ETag of that upload, in a store that attests nothing better.
	MD5 string `json:"md5,omitempty"`
}

// Base returns the name of the file.
func (s Stored) Base() string { return path.Base(s.Path) }

// Tomb says that a bundle was removed from the bucket on purpose.
type Tomb struct {
	Layout  int       `json:"layout"`
	Place   string    `json:"place"`
	Archive string    `json:"archive"`
	Reason  string    `json:"reason"`
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`
}

// ErrNone tells that there is no bundle of this place.
var ErrNone = errors.New("there is no such bundle in the store")

// Conflict tells that other bytes have the name already. Nothing was overwritten, and the local bundle stays.
type Conflict struct {
	Place, Ours, Theirs string // SHA-256 of the archives
	Host                string // of theirs
}

func (e *Conflict) Error() string {
	return fmt.Sprintf("%q is in the store with other content: the archive here has the SHA-256 %s, that of host %q has %s; nothing was overwritten", e.Place,
		e.Ours, e.Host, e.Theirs)
}

// Pruned tells that the bundle was removed from the store on purpose.
type Pruned struct{ Tomb Tomb }

func (e *Pruned) Error() string {
	return fmt.Sprintf("%q was pruned from the store on %s (%s)", e.Tomb.Place, e.Tomb.Time.Format(time.RFC3339), e.Tomb.Reason)
}

// names returns the names of a place: at most one, but where the store cannot keep names apart.
func (b *Bucket) names(ctx context.Context, place string) ([]Name, error) {
	if b.claiming {
		return b.claimed(ctx, place)
	}
	n, err := b.readName(ctx, b.nameKey(place), place)
	if errors.Is(err, objectstore.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []Name{n}, nil
}

func (b *Bucket) claimed(ctx context.Context, place string) (names []Name, err error) {
	prefix := b.claims(place)
	var keys []string
	err = b.objects.List(ctx, prefix, "", false, func(o objectstore.Object) error {
		if isDigest(strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), docSuffix)) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	for _, key := range keys {
		n, nameErr := b.readName(ctx, key, place)
		if errors.Is(nameErr, objectstore.ErrMissing) {
			continue
		}
		err = errors.Join(err, nameErr)
		names = append(names, n)
	}
	return names, err
}

func (b *Bucket) readName(ctx context.Context, key, place string) (Name, error) {
	data, _, err := b.objects.Get(ctx, key, maxDoc)
	if err != nil {
		return Name{}, err
	}
	var n Name
	if err := json.Unmarshal(data, &n); err != nil {
		return Name{}, fmt.Errorf("read name %q: %w", key, err)
	}
	if err := n.check(place); err != nil {
		return Name{}, fmt.Errorf("read name %q: %w", key, err)
	}
	return n, nil
}

func (n Name) check(place string) error {
	switch {
	case n.Layout != layoutVersion:
		return fmt.Errorf("layout %d; this program knows %d", n.Layout, layoutVersion)
	case n.Place != place:
		return fmt.Errorf("it is that of %q", n.Place)
	case !isDigest(n.Archive) || !isDigest(n.Sums) || len(n.Files) < 4:
		return errors.New("it does not name the files of a bundle by their digests")
	}
	seen := map[string]bool{}
	for _, f := range n.Files {
		want := n.Archive + "/" + n.Sums + "/" + f.Base()
		if f.Base() == bundle.ArchiveName {
			want = n.Archive + "/" + bundle.ArchiveName
		}
		if f.Path != want || !isDigest(f.SHA256) || f.Size < 0 || seen[f.Base()] {
			return fmt.Errorf("file %.200q is not where a file of this bundle is", f.Path)
		}
		seen[f.Base()] = true
	}
	must := []string{bundle.ArchiveName, bundle.ManifestName, bundle.TreeName, bundle.SumsName}
	for _, name := range must {
		if !seen[name] {
			return fmt.Errorf("there is no %s among its files", name)
		}
	}
	if more := len(seen) - len(must); more > 1 || more == 1 && !seen[bundle.SignatureName] {
		return errors.New("it names files that no bundle has")
	}
	return nil
}

// tomb returns the tomb of a place, nil where there is none. As there is hardly ever one, it is asked for first by what
// has the shorter answer.
func (b *Bucket) tomb(ctx context.Context, place string) (*Tomb, error) {
	if _, err := b.objects.Head(ctx, b.tombKey(place)); errors.Is(err, objectstore.ErrMissing) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	data, _, err := b.objects.Get(ctx, b.tombKey(place), maxDoc)
	if errors.Is(err, objectstore.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &Tomb{}
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("read tomb of %q: %w", place, err)
	}
	return t, nil
}

// buried looks for a tomb: the error is [*Pruned] when there is one.
func (b *Bucket) buried(ctx context.Context, place string) error {
	t, err := b.tomb(ctx, place)
	if err != nil || t == nil {
		return err
	}
	return &Pruned{*t}
}

// matches compares an object with what the name says of it. The checksum of one in other parts than the name says
// can not be compared without its bytes.
func (s Stored) matches(o objectstore.Object) (ok, attested bool, err error) {
	raw, err := hex.DecodeString(s.SHA256)
	if err != nil {
		return false, false, err
	}
	switch {
	case o.Size != s.Size:
		return false, false, nil
	case o.Checksum == "":
		return true, s.MD5 != "" && o.ETag == s.MD5, nil
	case strings.Contains(o.Checksum, "-"):
		return true, o.Checksum == s.Composite, nil
	}
	same := o.Checksum == base64.StdEncoding.EncodeToString(raw)
	return same, same, nil
}
