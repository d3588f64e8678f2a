package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/pickle"
	"github.com/bundlewatch/bundlewatch/test/torchfile"
)

// makeBundle makes a small bundle below dir.
func makeBundle(dir string) (string, error) {
	const n = 20_000
	source, err := torchfile.Of(pickle.NewDict("state_dict", pickle.NewDict("w", torchfile.View(0, n))), torchfile.Counting(n, 1))
	if err != nil {
		return "", err
	}
	c, err := checkpoint.Open(bytes.NewReader(source), int64(len(source)))
	if err != nil {
		return "", err
	}
	s, err := c.StateDict("")
	if err != nil {
		return "", err
	}
	model, err := c.Extract(s)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "bundle")
	if err := os.Mkdir(to, 0o755); err != nil {
		return "", err
	}
	m, err := bundle.Pack(context.Background(), to, &bundle.Contents{Watch: "w", Key: "r/1", Params: pickle.NewDict(), ParamsSource: "none",
		Parts: []bundle.Part{bundle.Model(model, bundle.Member{Role: "m", Payload: bundle.PayloadExtracted, StateDict: "state_dict", Tensors: checkpoint.ListTensors(s.Tensors()),
			Source: &bundle.Source{Path: "/r/1"}, Evidence: &bundle.Evidence{Quiet: "1s"}})}}, nil)
	if err != nil {
		return "", err
	}
	m.Tool, m.Version, m.Provenance.Published = "bench", 1, time.Now()
	return to, bundle.Seal(to, m)
}

func archiveSize(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, bundle.ArchiveName))
	if err != nil {
		return 0
	}
	return info.Size()
}
