package daemon

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// gitCommit returns the commit that is checked out in the repository around dir, "" when there is none
// or when it cannot be told. It reads the repository's files and runs nothing
// (gitrepository-layout(5)). A .git that is a file or a link leads elsewhere and is not followed.
func gitCommit(dir string) string {
	for {
		if info, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			if !info.IsDir() {
				return ""
			}
			return commitOf(dir)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func commitOf(repository string) string {
	git, err := os.OpenRoot(filepath.Join(repository, ".git"))
	if err != nil {
		return ""
	}
	defer git.Close()
	return headCommit(git)
}

func headCommit(git *os.Root) string {
	head := readLine(git, "HEAD")
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return objectName(head)
	}
	if !strings.HasPrefix(ref, "refs/") || !filepath.IsLocal(ref) {
		return ""
	}
	if commit := objectName(readLine(git, ref)); commit != "" {
		return commit
	}
	packed, err := readSmall(git, "packed-refs", 8<<20)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(packed) {
		if commit, name, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok && name == ref {
			return objectName(commit)
		}
	}
	return ""
}

// objectName returns s when it is a SHA-1 or SHA-256 in hex, else "".
func objectName(s string) string {
	if raw, err := hex.DecodeString(s); err != nil || (len(raw) != 20 && len(raw) != 32) {
		return ""
	}
	return s
}

func readLine(git *os.Root, name string) string {
	data, err := readSmall(git, name, 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// readSmall reads the beginning of a regular file; a pipe in its place does not block.
func readSmall(git *os.Root, name string, limit int64) ([]byte, error) {
	f, err := git.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, os.ErrInvalid
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
