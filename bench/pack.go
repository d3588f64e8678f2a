package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// pythonZip is upstream's way to write the archive: Python's zipfile. METHOD OUT SOURCES...
const pythonZip = `python3 -c '
import os, sys, zipfile
with open(sys.argv[2], "wb") as f:
    with zipfile.ZipFile(f, "w", getattr(zipfile, sys.argv[1])) as z:
        for path in sys.argv[3:]:
            z.write(path, os.path.basename(path))
    f.flush()
    os.fsync(f.fileno())
' %s out/wts.h5.zip "$@"`

func packers(kind string) []peer {
	return []peer{
		{name: "cp", command: `cp "$@" out && sync out/*`},
		{name: "bundlewatch once", command: `"$BUNDLEWATCH" once --config ` + kind + `.toml >/dev/null`},
		{name: "floor", command: `"$BENCH" floor "$@"`},
		{name: "Python zipfile, stored", needs: "python3", command: fmt.Sprintf(pythonZip, "ZIP_STORED")},
		{name: "Python zipfile, deflated", needs: "python3", command: fmt.Sprintf(pythonZip, "ZIP_DEFLATED"), once: true},
		{name: "zip -0", needs: "zip", command: `zip -q -0 out/x.zip "$@" && sync out/*`},
		{name: "zip -1", needs: "zip", command: `zip -q -1 out/x.zip "$@" && sync out/*`, once: true},
		{name: "tar", command: `tar cf out/x.tar "$@" && sync out/*`},
		{name: "7z -mx0", needs: "7z", command: `7z a -mx0 -bd out/x.7z "$@" >/dev/null && sync out/*`},
		{name: "rsync", needs: "rsync", command: `rsync "$@" out/ && sync out/*`},
	}
}

// sharers are the peers on a file system that shares extents.
func sharers(kind string) []peer {
	return []peer{
		{name: "cp --reflink=always", command: `cp --reflink=always "$@" out && sync out/*`},
		{name: "bundlewatch once", command: `"$BUNDLEWATCH" once --config ` + kind + `.toml >/dev/null`},
		{name: "floor", command: `"$BENCH" floor "$@"`},
		{name: "cp --reflink=never", command: `cp --reflink=never "$@" out && sync out/*`},
	}
}

// floor reads the files and computes one SHA-256 of them: what nobody who proves bytes can do without.
func floor(paths []string) error {
	sum := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		f.Close()
		if err != nil {
			return err
		}
	}
	fmt.Printf("%x\n", sum.Sum(nil))
	return nil
}

func (b *bench) datasets() []dataset {
	all := []dataset{{bare, 64 << 20}, {lightning, 64 << 20}, {small, 64 << 20}}
	if !b.quick {
		all = append(all, dataset{bare, 1 << 30}, dataset{lightning, 1 << 30})
	}
	if b.full {
		all = append(all, dataset{bare, 4 << 30}, dataset{lightning, 4 << 30})
	}
	return all
}

// pack compares the ways to pack a pair.
func (b *bench) pack() error {
	for _, d := range b.datasets() {
		if err := b.compare(b.dir, d, packers(d.kind)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) compare(dir string, d dataset, peers []peer) error {
	if err := d.write(dir); err != nil {
		return err
	}
	samples, err := b.measure(dir, peers, d.sources())
	if err != nil {
		return err
	}
	b.table(d.describe()+", "+fileSystem(dir), 2*d.bytes, peers, samples)
	return os.RemoveAll(filepath.Join(dir, d.kind))
}

// share compares them on a file system that can share extents.
func (b *bench) share() error {
	dir, unmount, err := b.mountXFS()
	if err != nil {
		b.printf("\nNo XFS to measure on: %v.\n", err)
		return nil
	}
	defer unmount()
	for _, d := range []dataset{{bare, 64 << 20}, {bare, 1 << 30}, {lightning, 1 << 30}} {
		if err := b.compare(dir, d, sharers(d.kind)); err != nil {
			return err
		}
	}
	return nil
}

// mountXFS makes an XFS in a file and mounts it.
func (b *bench) mountXFS() (dir string, unmount func(), err error) {
	image, dir := filepath.Join(b.dir, "xfs.img"), filepath.Join(b.dir, "xfs")
	script := fmt.Sprintf("truncate -s 12G %q && mkfs.xfs -q %q && mkdir %q && mount -o loop %q %q", image, image, dir, image, dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("%w: %s", err, out)
	}
	return dir, func() { _ = exec.Command("umount", dir).Run() }, nil
}
