package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// published measures what an artifact directory full of bundles costs at the start.
func (b *bench) published() error {
	bundles := 10_000
	if b.full {
		bundles = 100_000
	}
	dir := filepath.Join(b.dir, "published")
	if err := b.plantBundles(dir, bundles); err != nil {
		return err
	}
	b.printf("\n| start beside published bundles | until ready | CPU until then | CPU until at rest | peak RSS | RSS at rest | bytes of it for each bundle |\n|---|---:|---:|---:|---:|---:|---:|\n")
	var without int64
	for _, c := range []struct{ what, artifacts, root, retention string }{
		{"no bundle", "none", "empty", ""},
		{fmt.Sprintf("%d bundles, their sources gone", bundles), "out", "empty", ""},
		{fmt.Sprintf("%d bundles, their sources gone, with retention", bundles), "out", "empty", "[watch.retention]\nkeep_last = 1000000\n"},
		{fmt.Sprintf("%d bundles, all sources there", bundles), "out", "small", ""},
	} {
		text := fmt.Sprintf(publishedConfig, c.artifacts, c.root, c.retention)
		path := filepath.Join(dir, "start.toml")
		for _, sub := range []string{c.artifacts, c.root} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		s, err := b.measureStart(path)
		if err != nil {
			return err
		}
		each := "0"
		if c.artifacts == "none" {
			without = s.rss
		} else {
			each = fmt.Sprint((s.rss - without) / int64(bundles))
		}
		b.printf("| %s | %.2f s | %.2f s | %.2f s | %s | %s | %s |\n", c.what, s.clock, s.ready, s.cpu, mib(s.peak), mib(s.rss), each)
	}
	return os.RemoveAll(dir)
}

const publishedConfig = `[artifacts]
dir = %q
[[watch]]
name = "w"
root = %q
settle = "10ms"
[watch.members]
a = "{run...}/a-{epoch}.ckpt"
%s`

// started is what a start took until it was ready, and what it came to when the daemon was at rest.
type started struct {
	clock, ready, cpu float64
	peak, rss         int64
}

func (b *bench) measureStart(config string) (started, error) {
	begin := time.Now()
	d, err := b.startDaemon(config)
	if err != nil {
		return started{}, err
	}
	if err := d.ready(); err != nil {
		return started{}, err
	}
	s := started{clock: time.Since(begin).Seconds(), ready: d.cpu()}
	d.rest()
	s.cpu, s.peak, s.rss = d.cpu(), d.peak(), d.rss()
	return s, d.stop()
}

// rest waits until the daemon does next to nothing.
func (d *daemon) rest() {
	for before := -1.0; d.cpu()-before > 0.02; time.Sleep(2 * time.Second) {
		before = d.cpu()
	}
}

// plantBundles makes one bundle, and of it as many as asked for: each with a source, a manifest and sums of its own.
func (b *bench) plantBundles(dir string, bundles int) error {
	source := filepath.Join(dir, "small/r0/a-1.ckpt")
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		return err
	}
	if out, err := exec.Command(b.self, "data", bare, "4096", source, "1").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	config := filepath.Join(dir, "once.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, publishedConfig, "out", "small", ""), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command(b.program, "once", "--config", config).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	t := template{bundle: filepath.Join(dir, "out/w/r0/1")}
	var err error
	if t.manifest, err = bundle.ReadManifest(filepath.Join(t.bundle, bundle.ManifestName)); err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		into *[]byte
	}{{source, &t.source}, {filepath.Join(t.bundle, bundle.SumsName), &t.sums}, {filepath.Join(t.bundle, bundle.ManifestName), &t.text},
		{filepath.Join(t.bundle, bundle.ArchiveName), &t.archive}, {filepath.Join(t.bundle, bundle.TreeName), &t.tree}} {
		if *f.into, err = os.ReadFile(f.path); err != nil {
			return err
		}
	}
	for i := 1; i < bundles; i++ {
		run := fmt.Sprintf("r%d", i)
		if err := t.copy(filepath.Join(dir, "small", run), filepath.Join(dir, "out/w", run, "1"), run+"/1"); err != nil {
			return err
		}
	}
	return nil
}

// template is a bundle of which others are made.
type template struct {
	bundle                            string
	manifest                          *bundle.Manifest
	source, archive, tree, text, sums []byte
}

// copy makes a bundle of that key, and its source in a run.
func (t *template) copy(run, at, key string) error {
	if err := errors.Join(os.MkdirAll(run, 0o755), os.MkdirAll(at, 0o755)); err != nil {
		return err
	}
	source := filepath.Join(run, "a-1.ckpt")
	if err := os.WriteFile(source, t.source, 0o644); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil {
		return err
	}
	own, member := *t.manifest, t.manifest.Members[0]
	member.Source = &bundle.Source{Path: source, Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()).UTC(), ChTime: time.Unix(st.Ctim.Unix()).UTC(),
		Device: st.Dev, Inode: st.Ino, UID: st.Uid, Links: uint64(st.Nlink)}
	own.Key, own.Members = key, []bundle.Member{member}
	text, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	sums := bytes.ReplaceAll(t.sums, fmt.Appendf(nil, "%x", sha256.Sum256(t.text)), fmt.Appendf(nil, "%x", sha256.Sum256(text)))
	for name, data := range map[string][]byte{bundle.ManifestName: text, bundle.SumsName: sums, bundle.ArchiveName: t.archive, bundle.TreeName: t.tree} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o444); err != nil {
			return err
		}
	}
	return nil
}
