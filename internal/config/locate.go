package config

import (
	"fmt"
	"path/filepath"

	"github.com/BurntSushi/toml"
)

// Locate reads from a configuration file what leads to the daemon that runs with it: artifacts.dir and
// status.socket. It overlooks everything else that is wrong with the file, because a daemon keeps the
// config that it has when somebody breaks the file.
func Locate(path string) (*Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find config %q: %w", path, err)
	}
	src, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read config %q: %w", path, err)
	}
	values := map[string]any{}
	if _, err := toml.Decode(src, &values); err != nil {
		return nil, syntaxProblem(path, err)
	}
	tree, _ := scan(src)
	file := section{report: &report{file: path}, doc: fileTable, values: values, at: tree, line: 1}
	cfg := &Config{Path: path}
	artifacts := section{report: file.report, doc: artifactsTable, path: []string{"artifacts"}, at: tree.child("artifacts"), line: 1}
	artifacts.values, _ = values["artifacts"].(map[string]any)
	cfg.Artifacts.Dir = artifacts.absolute("dir", cfg)
	if err := file.problems.orNil(); err != nil {
		return nil, err
	}
	status := section{report: file.report, doc: statusTable, path: []string{"status"}, at: tree.child("status"), line: 1}
	status.values, _ = values["status"].(map[string]any)
	cfg.Status.Socket = status.absolute("socket", cfg)
	return cfg, file.problems.orNil()
}
