package registry

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	orasref "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

var update = flag.Bool("update", false, "write testdata instead of comparing it")

func TestTags(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ run, key, want string }{
		{"run_7", "run_7/12", "run_7-12-0123456789ab"},
		{"run_7", "run_7", "run_7-0123456789ab"},
		{"run_7", "run_77/12", "run_7-run_77-12-0123456789ab"},
		{"", "12", "12-0123456789ab"},
		{"exp/a b", "exp/a b/é=1", "exp-a-b---1-0123456789ab"},
		{".hidden", ".hidden/1", "_hidden-1-0123456789ab"},
		{"", "-1", "_1-0123456789ab"},
		{"", "é", "_-0123456789ab"},
		{"", strings.Repeat("x", 200) + "/last", strings.Repeat("x", 110) + "-last-0123456789ab"},
		{"", "\xff\x00\n../x", "_--..-x-0123456789ab"},
	} {
		h := &bundle.Head{Key: c.key, Captures: bundle.Captures{"run": c.run}, Archive: bundle.Digest{SHA256: sum}}
		got := tagOf(h)
		require.Equal(t, c.want, got)
		require.NoError(t, orasref.Reference{Reference: got}.ValidateReferenceAsTag(), got)
	}
}

func FuzzTag(f *testing.F) {
	f.Add("run", "run/1")
	f.Fuzz(func(t *testing.T, run, key string) {
		tag := tagOf(&bundle.Head{Key: key, Captures: bundle.Captures{"run": run}, Archive: bundle.Digest{SHA256: strings.Repeat("a", 64)}})
		require.NoError(t, orasref.Reference{Reference: tag}.ValidateReferenceAsTag())
	})
}

// small is a bundle of fixed bytes, without an archive that anybody could load.
func small(t *testing.T) string {
	dir := t.TempDir()
	manifest := `{"schema_version":1,"tool":"bundlewatch 1","watch":"w","key":"r/1","captures":{"run":"r"},"version":1,` +
		`"archive":{"name":"wts.h5.zip","bytes":3,"sha256":"` + fmt.Sprintf("%x", sha256.Sum256([]byte("zip"))) + `"},` +
		`"members":[],"provenance":{"published":"2026-01-02T03:04:05.678Z","root":"/data","git_commit":"abc"}}`
	sums := fmt.Sprintf("%x  archive_tree.txt\n%x  bundle_manifest.json\n%x  wts.h5.zip\n", sha256.Sum256([]byte("tree")), sha256.Sum256([]byte(manifest)), sha256.Sum256([]byte("zip")))
	for name, text := range map[string]string{bundle.ArchiveName: "zip", bundle.ManifestName: manifest, bundle.TreeName: "tree", bundle.SumsName: sums} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// The digest of an artifact is a function of the bundle, whatever the version of this program or its libraries.
func TestArtifactIsDeterministic(t *testing.T) {
	a, err := Open(small(t))
	require.NoError(t, err)
	require.Equal(t, "r-1-"+a.archive.Encoded()[:12], a.Tag)
	for name, got := range map[string][]byte{"manifest.json": a.content, "config.json": a.blobs[len(a.blobs)-1].data} {
		golden := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	require.Equal(t, digest.FromBytes(a.content), a.Digest)
}

func TestWhatIsNoBundle(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"no manifest": {func(dir string) error { return os.Remove(filepath.Join(dir, bundle.ManifestName)) }, "no such file"},
		"no archive":  {func(dir string) error { return os.Remove(filepath.Join(dir, bundle.ArchiveName)) }, "no such file"},
		"other tree":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, bundle.TreeName), []byte("no"), 0o644) }, "archive_tree.txt is not the file"},
		"other manifest": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, bundle.ManifestName), []byte(`{"schema_version":1}`), 0o644)
		}, "is not the file"},
		"linked archive": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, bundle.ArchiveName)), os.Symlink("/dev/zero", filepath.Join(dir, bundle.ArchiveName)))
		}, "symbolic link"},
		"linked signature": {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, bundle.SignatureName)) }, "symbolic link"},
	} {
		dir := small(t)
		require.NoError(t, c.spoil(dir))
		_, err := Open(dir)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestManifestsOfOthers(t *testing.T) {
	layer := func(annotations map[string]string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: docType, Digest: digest.FromString("x"), Size: 1, Annotations: annotations}
	}
	both := func(name string) ocispec.Descriptor {
		return layer(map[string]string{modelPackPath: name, titleName: name})
	}
	whole := []ocispec.Descriptor{both(bundle.ArchiveName), layer(map[string]string{titleName: bundle.ManifestName}),
		layer(map[string]string{modelPackPath: bundle.TreeName}), both(bundle.SumsName)}
	read := func(mediaType string, layers ...ocispec.Descriptor) error {
		data, err := json.Marshal(ocispec.Manifest{MediaType: mediaType, Layers: layers})
		require.NoError(t, err)
		_, err = readLayers(data)
		return err
	}
	require.NoError(t, read(ocispec.MediaTypeImageManifest, whole...))
	require.NoError(t, read(ocispec.MediaTypeImageManifest, append(whole, both(bundle.SignatureName))...))
	for _, name := range []string{"", ".", "..", "../wts.h5.zip", "/etc/passwd", "a/b", "./wts.h5.zip", "wts.h5.zip/", "WTS.H5.ZIP", "wts.h5.zip\x00", "pruned.json", ".git"} {
		require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, append(whole, both(name))...), "is no file of a bundle", "%q", name)
	}
	require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, append(whole, both(bundle.TreeName))...), "names archive_tree.txt again")
	require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, append(whole, layer(map[string]string{modelPackPath: bundle.SignatureName, titleName: "../x"}))...), "two names")
	require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, append(whole, layer(nil))...), "is no file")
	require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, whole[1:]...), "no layer is called wts.h5.zip")
	require.ErrorContains(t, read(ocispec.MediaTypeImageIndex, whole...), "media type")
	for size, name := range map[int64]string{-1: bundle.ArchiveName, maxSmall + 1: bundle.TreeName} {
		bad := both(name)
		bad.Size = size
		require.ErrorContains(t, read(ocispec.MediaTypeImageManifest, bad), "bytes")
	}
	bad := both(bundle.ArchiveName)
	bad.Digest = "sha256:../../x"
	require.Error(t, read(ocispec.MediaTypeImageManifest, bad))
	_, err := readLayers([]byte("{"))
	require.Error(t, err)
}

func FuzzReadLayers(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	require.NoError(f, err)
	f.Add(golden)
	f.Fuzz(func(t *testing.T, data []byte) {
		layers, err := readLayers(data)
		if err != nil {
			return
		}
		for _, l := range layers {
			require.Equal(t, filepath.Base(l.name), l.name)
			require.GreaterOrEqual(t, l.Size, int64(0))
		}
	})
}

func TestReferences(t *testing.T) {
	for text, want := range map[string]Reference{
		"h:5000/a/b":                            {Repository: "h:5000/a/b"},
		"h/a:v1":                                {Repository: "h/a", Tag: "v1"},
		"[::1]:5000/a":                          {Repository: "[::1]:5000/a"},
		"h/a@sha256:" + strings.Repeat("a", 64): {Repository: "h/a", Digest: "sha256:" + strings.Repeat("a", 64)},
	} {
		got, err := ParseReference(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
	for text, want := range map[string]string{"": "missing", "a": "missing", "https://h/a": "scheme", "h/A": "lower case", "h/a:": "", "h/a@sha256:x": "digest"} {
		_, err := ParseReference(text)
		if want != "" {
			require.ErrorContains(t, err, want, text)
		}
	}
	_, err := ParseReference("user:secret@h/a:v")
	require.ErrorContains(t, err, "credentials")
	require.NotContains(t, err.Error(), "secret")
	for repository, want := range map[string]bool{"localhost:5000/a": true, "localhost/a": true, "127.9.0.1:80/a": true, "[::1]:80/a": true, "10.0.0.1/a": false, "localhost.example/a": false, "h/localhost": false} {
		require.Equal(t, want, IsLoopback(repository), repository)
	}
}

// Nothing that is shown has what is behind the "?" of a URL.
func TestErrorsKeepSecrets(t *testing.T) {
	u, err := url.Parse("https://user:pw@store.example/blob?X-Signature=secret#f")
	require.NoError(t, err)
	for _, err := range []error{
		&errcode.ErrorResponse{Method: "GET", URL: u, StatusCode: 500},
		fmt.Errorf("wrapped: %w", &url.Error{Op: "Get", URL: u.String(), Err: io.ErrUnexpectedEOF}),
	} {
		got := explain(err)
		require.Contains(t, got.Error(), "https://store.example/blob")
		require.NotContains(t, got.Error(), "secret")
		require.NotContains(t, got.Error(), "pw@")
		require.True(t, Passing(got))
		require.NotErrorIs(t, got, backlog.ErrRefused)
	}
	got := explain(&errcode.ErrorResponse{Method: "PUT", URL: u, StatusCode: 400, Errors: errcode.Errors{{Code: errcode.ErrorCodeManifestInvalid, Message: "\x1b[2J"}}})
	require.ErrorIs(t, got, backlog.ErrRefused)
	require.NotContains(t, got.Error(), "\x1b")
	require.False(t, Passing(got))
	require.ErrorContains(t, explain(&errcode.ErrorResponse{Method: "PUT", URL: u, StatusCode: 403}), "docker login")
}

// A file that is not what was published never arrives whole.
func TestProof(t *testing.T) {
	read := func(text string, size int64, from io.Reader) (string, error) {
		p := &proof{from: from, hash: sha256.New(), left: size, want: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), name: "f"}
		data, err := io.ReadAll(iotest.OneByteReader(p))
		return string(data), err
	}
	got, err := read("hello", 5, strings.NewReader("hello"))
	require.NoError(t, err)
	require.Equal(t, "hello", got)
	got, err = read("hello", 5, strings.NewReader("hellO"))
	require.ErrorContains(t, err, "was published with")
	require.Equal(t, "hell", got)
	_, err = read("hello", 5, strings.NewReader("hel"))
	require.ErrorContains(t, err, "ends 2 bytes early")
	_, err = read("hello", 5, io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(os.ErrDeadlineExceeded)))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
