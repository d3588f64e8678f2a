// Command checkpoints writes the files that bench/run.sh measures with, below the directory that it is
// given: pairs of 256 MiB of random weights as bare state_dicts and as Lightning checkpoints.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

func main() {
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "checkpoints: error:", err)
		os.Exit(1)
	}
}

const (
	tensors = 24
	size    = 256 << 20 / tensors &^ 7
)

func write(dir string) error {
	for i, member := range []string{"a", "b"} {
		var all []torchfile.Tensor
		for n := range tensors {
			all = append(all, torchfile.Random(fmt.Sprintf("layers.%d.weight", n), size, uint64(100*i+n)))
		}
		for kind, c := range map[string]torchfile.Checkpoint{
			"bare":      {State: all},
			"lightning": {State: all[:tensors/3], Moments: all[tensors/3:]},
		} {
			path := filepath.Join(dir, kind, "r1", member+"-1.ckpt")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := c.Save(path); err != nil {
				return err
			}
		}
	}
	return nil
}
