package status

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SocketName is the name of the socket of the daemon that publishes to an artifact directory, of which
// there is one at a time.
func SocketName(artifacts string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(artifacts)))
	return hex.EncodeToString(sum[:8]) + ".sock"
}

// Directories are where a daemon makes its socket, in the order in which they are tried. Whoever looks for a
// daemon has to look in all of them: its environment may be another one.
func Directories() []string {
	var dirs []string
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		first, _, _ := strings.Cut(dir, ":") // systemd.exec(5)
		dirs = append(dirs, first)
	}
	if os.Geteuid() == 0 {
		dirs = append(dirs, systemDirectory)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		dirs = append(dirs, filepath.Join(dir, "bundlewatch"))
	}
	return dirs
}

const systemDirectory = "/run/bundlewatch"

// Place returns where a daemon makes its socket, and makes the directory. socket is the configured path, ""
// for the usual place.
func Place(socket, artifacts string) (string, error) {
	if socket != "" {
		return socket, nil
	}
	dirs := Directories()
	if len(dirs) == 0 {
		return "", fmt.Errorf("no place for the status socket: neither $RUNTIME_DIRECTORY nor $XDG_RUNTIME_DIR is set; set socket under [status]")
	}
	mode := os.FileMode(0o700)
	if dirs[0] == systemDirectory {
		mode = 0o755
	}
	if err := os.MkdirAll(dirs[0], mode); err != nil {
		return "", fmt.Errorf("make the directory of the status socket: %w", err)
	}
	return filepath.Join(dirs[0], SocketName(artifacts)), nil
}

// Candidates are the paths where the socket of a daemon can be.
func Candidates(socket, artifacts string) []string {
	if socket != "" {
		return []string{socket}
	}
	var paths []string
	for _, dir := range searched() {
		paths = append(paths, filepath.Join(dir, SocketName(artifacts)))
	}
	return paths
}

// Sockets are all sockets in the usual places.
func Sockets() []string {
	var paths []string
	for _, dir := range searched() {
		found, err := filepath.Glob(filepath.Join(dir, "*.sock"))
		if err == nil {
			paths = append(paths, found...)
		}
	}
	return paths
}

// searched are all directories that a daemon of anybody's can have used.
func searched() []string {
	dirs := Directories()
	for _, dir := range dirs {
		if dir == systemDirectory {
			return dirs
		}
	}
	return append(dirs, systemDirectory)
}
