package daemon

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// gitCommit returns the commit that is checked out in the repository around dir, "" when there is none
// or when it cannot be told. It reads the repository's files and runs nothing
// (gitrepository-layout(5)).
func gitCommit(dir string) string {
	for {
		git := filepath.Join(dir, ".git")
		if info, err := os.Lstat(git); err == nil && info.IsDir() {
			return headCommit(git)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func headCommit(git string) string {
	head := readLine(filepath.Join(git, "HEAD"))
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return objectName(head)
	}
	if !strings.HasPrefix(ref, "refs/") || !filepath.IsLocal(ref) {
		return ""
	}
	if commit := objectName(readLine(filepath.Join(git, ref))); commit != "" {
		return commit
	}
	packed, err := readSmall(filepath.Join(git, "packed-refs"), 8<<20)
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

func readLine(path string) string {
	data, err := readSmall(path, 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, os.ErrInvalid
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
