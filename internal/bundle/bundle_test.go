package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/internal/zipfile"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// torchZip is a checkpoint {'state_dict': {'w': float32[n]}, 'epoch': 3} as torch.save would write it.
func torchZip(t testing.TB, n int) []byte {
	t.Helper()
	data, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, n)), "epoch", int64(3)), torchfile.Counting(n, 0))
	require.NoError(t, err)
	return data
}

func contents(t testing.TB, source []byte) *Contents {
	t.Helper()
	c, err := checkpoint.Open(bytes.NewReader(source), int64(len(source)))
	require.NoError(t, err)
	s, err := c.StateDict("")
	require.NoError(t, err)
	model, err := c.Extract(s)
	require.NoError(t, err)
	sentinel, err := checkpoint.Save(checkpoint.SentinelDict("autoencoder"))
	require.NoError(t, err)
	return &Contents{
		Watch: "w", Key: "run a/1", Params: pickle.NewDict("N", int64(64), "lr", 1e-3, "note", "<é>\x1b"), ParamsSource: "config files",
		Parts: []Part{
			Model(sentinel, Member{Role: "autoencoder", Payload: PayloadSentinel, Tensors: checkpoint.ListTensors([]checkpoint.Tensor{})}),
			Model(model, Member{Role: "diffraction_to_obj", Payload: PayloadExtracted, StateDict: "state_dict", Tensors: checkpoint.ListTensors(s.Tensors()), Dropped: c.Dropped(s),
				Source: &Source{Path: "/run/x.ckpt"}, Evidence: &Evidence{Quiet: "1s"}}),
		},
		Config: []File{{Name: "configs/a.json", Data: []byte("{}")}},
	}
}

func pack(t testing.TB, dir string, c *Contents) *Manifest {
	t.Helper()
	var progress int64
	m, err := Pack(context.Background(), dir, c, func(n int64) { progress += n })
	require.NoError(t, err)
	require.Equal(t, m.Archive.Bytes, progress)
	m.Tool, m.Version = "bundlewatch test", 1
	require.NoError(t, Seal(dir, m))
	return m
}

func verify(t testing.TB, path string) *Report {
	t.Helper()
	r, err := Verify(context.Background(), path)
	require.NoError(t, err)
	return r
}

func TestPackVerifyInspect(t *testing.T) {
	dir := t.TempDir()
	pack(t, dir, contents(t, torchZip(t, 100_000)))
	r := verify(t, dir)
	require.Empty(t, r.Problems)
	require.Equal(t, 1, r.Tensors)
	require.Equal(t, 7, r.Entries)
	require.Empty(t, verify(t, filepath.Join(dir, ArchiveName)).Problems)

	in, err := Inspect(dir)
	require.NoError(t, err)
	require.Equal(t, "bundle", in.Kind)
	require.JSONEq(t, `{"N":64,"lr":0.001,"note":"<é>\u001b"}`, string(in.Params))
	require.Equal(t, []int64{100_000}, in.Pickles[3].Tensors[0].Shape)

	if _, err := exec.LookPath("sha256sum"); err == nil {
		check := exec.Command("sha256sum", "--strict", "-c", SumsName)
		check.Dir = dir
		out, err := check.CombinedOutput()
		require.NoError(t, err, string(out))
	}
}

func TestPackIsDeterministic(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	first := pack(t, a, contents(t, torchZip(t, 5000)))
	second := pack(t, b, contents(t, torchZip(t, 5000)))
	requireSameManifest(t, first, second)
}

func requireSameManifest(t *testing.T, a, b *Manifest) {
	t.Helper()
	x, err := json.Marshal(a)
	require.NoError(t, err)
	y, err := json.Marshal(b)
	require.NoError(t, err)
	require.JSONEq(t, string(x), string(y))
}

func TestSealAgainWithAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	m := pack(t, dir, contents(t, torchZip(t, 10)))
	m.Version = 2
	require.NoError(t, Seal(dir, m))
	require.Empty(t, verify(t, dir).Problems)
}

// A large record's data lies at the same offset in a block as in the source, so that extents can be shared.
func TestRecordsStayCongruentToTheSource(t *testing.T) {
	source := torchZip(t, 100_000)
	dir := t.TempDir()
	pack(t, dir, contents(t, source))
	f, err := os.Open(filepath.Join(dir, ArchiveName))
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	outer, err := zipfile.Read(f, info.Size())
	require.NoError(t, err)
	model := outer.Find("diffraction_to_obj/model.pth")
	inner, err := zipfile.Read(io.NewSectionReader(f, model.Data, model.Size), model.Size)
	require.NoError(t, err)
	src, err := zipfile.Read(bytes.NewReader(source), int64(len(source)))
	require.NoError(t, err)
	require.Equal(t, src.Find("archive/data/0").Data%4096, (model.Data+inner.Find("archive/data/0").Data)%4096)
}

// One flipped bit anywhere is found, in every file of a bundle and in the archive alone. The slow
// suite tries every byte.
func TestEveryFlippedBitIsFound(t *testing.T) {
	dir := t.TempDir()
	pack(t, dir, contents(t, torchZip(t, 40)))
	for _, name := range []string{ArchiveName, ManifestName, TreeName, SumsName} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, 0o644))
		for i := range data {
			if os.Getenv("BUNDLEWATCH_SLOW") == "" && i%19 != 0 {
				continue
			}
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << (i % 8)
			require.NoError(t, os.WriteFile(path, flipped, 0o644))
			require.NotEmpty(t, verify(t, dir).Problems, "%s byte %d", name, i)
			if name == ArchiveName {
				require.NotEmpty(t, verify(t, path).Problems, "%s alone, byte %d", name, i)
			}
		}
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	require.Empty(t, verify(t, dir).Problems)
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, dir string)
		reason string
	}{
		{"missing archive", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, ArchiveName))) }, "no such file"},
		{"missing sums", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, SumsName))) }, "SHA256SUMS"},
		{"planted file", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "model.pth"), nil, 0o644))
		}, `"model.pth" does not belong`},
		{"link instead of the archive", func(t *testing.T, dir string) {
			path := filepath.Join(dir, ArchiveName)
			require.NoError(t, os.Rename(path, dir+".zip"))
			require.NoError(t, os.Symlink(dir+".zip", path))
		}, "no regular file"},
		{"cut off", func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, ArchiveName), 5000))
		}, "no end record"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bundle")
			require.NoError(t, os.Mkdir(dir, 0o755))
			pack(t, dir, contents(t, torchZip(t, 10)))
			tc.change(t, dir)
			require.Contains(t, join(verify(t, dir).Problems), tc.reason)
		})
	}
}

// A file was changed, and SHA256SUMS with it: the files of a bundle still have to agree with each other.
func TestVerifyHoldsTheFilesAgainstEachOther(t *testing.T) {
	replace := func(old, by string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, by, 1) }
	}
	for _, tc := range []struct {
		name, file string
		change     func(string) string
		reason     string
	}{
		{"digest of the archive", ManifestName, replace(`"name": "wts.h5.zip"`, `"name": "other.zip"`), `"other.zip"`},
		{"size of the archive", ManifestName, replace(`"bytes": `, `"bytes": 1`), "the archive"},
		{"text after the manifest", ManifestName, func(text string) string { return text + "{}" }, "after top-level value"},
		{"changed config", ManifestName, replace(`"config_changed": true`, `"config_changed": false`), "two versions"},
		{"evidence", ManifestName, replace(`"evidence":`, `"other":`), "evidence"},
		{"tree", TreeName, func(text string) string { return text + "  1  more\n" }, TreeName},
		{"no tree", TreeName, func(string) string { return "" }, TreeName},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			c := contents(t, torchZip(t, 10))
			c.FirstConfig, c.ConfigChanged = []File{{Name: "configs/a.json", Data: []byte("[]")}}, true
			pack(t, dir, c)
			require.Empty(t, verify(t, dir).Problems)
			path := filepath.Join(dir, tc.file)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			changed := tc.change(string(data))
			require.NotEqual(t, string(data), changed)
			rewrite(t, path, []byte(changed))
			resum(t, dir)
			require.Contains(t, join(verify(t, dir).Problems), tc.reason)
		})
	}
}

// An archive that was packed anew is whole by itself, but it is not the one of the manifest.
func TestVerifyHoldsTheArchiveAgainstTheManifest(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	c := contents(t, torchZip(t, 10))
	pack(t, dir, c)
	scaling, err := checkpoint.Save(pickle.NewDict("schema_version", "ci-entrypoints-v1"))
	require.NoError(t, err)
	c.Scaling = scaling
	pack(t, other, c)
	data, err := os.ReadFile(filepath.Join(other, ArchiveName))
	require.NoError(t, err)
	rewrite(t, filepath.Join(dir, ArchiveName), data)
	resum(t, dir)
	require.Contains(t, join(verify(t, dir).Problems), "says that the archive is")
}

func TestVerifyKnowsEveryWordOfTheRootManifest(t *testing.T) {
	dir := t.TempDir()
	pack(t, dir, contents(t, torchZip(t, 10)))
	path := filepath.Join(dir, ArchiveName)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	d, err := zipfile.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	e := d.Find(rootManifestName)
	root := bytes.Replace(data[e.Data:e.Data+e.Size], []byte("2.0-pytorch"), []byte("9.9-pytorch"), 1)
	was, is := binary.LittleEndian.AppendUint32(nil, e.CRC32), binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(root))
	copy(data[e.Data:], root)
	rewrite(t, path, bytes.ReplaceAll(data, was, is))
	require.Contains(t, join(verify(t, path).Problems), "manifest.dill is not what this program writes")
}

func rewrite(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.Chmod(path, 0o644))
	require.NoError(t, os.WriteFile(path, data, 0o644))
}

// resum writes the SHA256SUMS of the files that a bundle has now.
func resum(t *testing.T, dir string) {
	t.Helper()
	var digests []Digest
	for _, name := range []string{TreeName, ManifestName, ArchiveName} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		digests = append(digests, digest(name, data))
	}
	rewrite(t, filepath.Join(dir, SumsName), renderSums(digests))
}

func join(problems []string) string {
	var b bytes.Buffer
	for _, p := range problems {
		b.WriteString(p + "\n")
	}
	return b.String()
}

func TestCorruptRecordIsNamedAndRefused(t *testing.T) {
	source := torchZip(t, 100_000)
	c := contents(t, source)
	source[len(source)/2] ^= 0x40
	dir := t.TempDir()
	_, err := Pack(context.Background(), dir, c, func(int64) {})
	require.True(t, checkpoint.IsCorrupt(err))
	require.ErrorContains(t, err, `record "archive/data/0"`)
	require.ErrorContains(t, err, `member "diffraction_to_obj"`)
}

func TestPackStopsWhenTheContextDoes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Pack(ctx, t.TempDir(), contents(t, torchZip(t, 3_000_000)), func(int64) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
}

func TestFindBundles(t *testing.T) {
	root := t.TempDir()
	for _, key := range []string{"w/a/1", "w/a/2", "w/a/SHA256SUMS", "w/a/wts.h5.zip/1", ".staging/x.1"} {
		dir := filepath.Join(root, key)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		pack(t, dir, contents(t, torchZip(t, 10)))
	}
	found, err := Find(root)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(root, "w/a/1"), filepath.Join(root, "w/a/2"),
		filepath.Join(root, "w/a/SHA256SUMS"), filepath.Join(root, "w/a/wts.h5.zip/1")}, found)
	_, err = Find(t.TempDir())
	require.ErrorContains(t, err, "there are none")
}

// A run directory with the archive that upstream's trainer wrote: compressed, with dill's pickles.
func TestForeignArchive(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, ArchiveName))
	require.NoError(t, err)
	w := zip.NewWriter(f)
	root, err := pickle.Encode(pickle.NewDict("models", &pickle.List{Items: []any{"m"}}))
	require.NoError(t, err)
	params, err := pickle.Encode(pickle.NewDict("path", &pickle.Object{Class: &pickle.Global{Module: "pathlib", Name: "PosixPath"}, Args: []any{"/"}}))
	require.NoError(t, err)
	for name, data := range map[string][]byte{"manifest.dill": root, "m/params.dill": params, "m/model.pth": torchZip(t, 1000)} {
		e, err := w.Create(name)
		require.NoError(t, err)
		_, err = e.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	for _, path := range []string{dir, f.Name()} {
		r := verify(t, path)
		require.Empty(t, r.Problems)
		require.Equal(t, "foreign archive", r.Kind)
		require.Equal(t, []string{"m/params.dill imports pathlib.PosixPath"}, r.Warnings)
		in, err := Inspect(path)
		require.NoError(t, err)
		require.Equal(t, "archive", in.Kind)
	}
	require.NoError(t, os.Truncate(f.Name(), 200))
	require.NotEmpty(t, verify(t, dir).Problems)
}

// A bundle's directory that somebody else made: nothing in it makes a verification wait or eat memory.
func TestPipesAndEndlessFilesAreRefused(t *testing.T) {
	for _, name := range []string{SumsName, ManifestName, ArchiveName} {
		dir := filepath.Join(t.TempDir(), "bundle")
		require.NoError(t, os.Mkdir(dir, 0o755))
		pack(t, dir, contents(t, torchZip(t, 10)))
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		require.NoError(t, unix.Mkfifo(filepath.Join(dir, name), 0o644))
		r, err := Verify(context.Background(), dir)
		if err == nil {
			require.Contains(t, join(r.Problems), "no regular file")
		} else {
			require.ErrorContains(t, err, "no regular file")
		}
		_, err = Verify(context.Background(), filepath.Join(dir, name))
		require.ErrorContains(t, err, "no regular file")
	}
	dir := t.TempDir()
	pack(t, dir, contents(t, torchZip(t, 10)))
	require.NoError(t, os.Chmod(filepath.Join(dir, SumsName), 0o644))
	require.NoError(t, os.Truncate(filepath.Join(dir, SumsName), 2<<30))
	require.Contains(t, join(verify(t, dir).Problems), "more than")
}

// What is no archive is not read to its end to say so.
func TestVerifyOfALargeFileThatIsNoArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	require.NoError(t, os.Truncate(path, 1<<40))
	r, err := Verify(t.Context(), path)
	require.NoError(t, err)
	require.Len(t, r.Problems, 1)
	require.EqualValues(t, 1<<40, r.Bytes)
}
