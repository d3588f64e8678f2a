package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// maxSize is the size in bytes above which a file is not taken for a configuration.
const maxSize = 256 << 10

// minSettle is the shortest quiet time that says anything about a writer.
const minSettle = 10 * time.Millisecond

// Load reads and checks a configuration file. What is wrong in the file is returned as [Problems].
func Load(path string) (*Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find config %q: %w", path, err)
	}
	src, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read config %q: %w", path, err)
	}
	return parse(path, src)
}

func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(src) > maxSize {
		err = fmt.Errorf("larger than %d bytes: this is no bundlewatch.toml", maxSize)
	}
	return string(src), err
}

// parse makes the configuration that src describes; path is absolute.
func parse(path, src string) (*Config, error) {
	values := map[string]any{}
	if _, err := toml.Decode(src, &values); err != nil {
		return nil, syntaxProblem(path, err)
	}
	tree, _ := scan(src)
	file := section{report: &report{file: path}, doc: fileTable, values: values, at: tree, line: 1}
	file.checkNames()

	cfg := &Config{Path: path}
	tidies := file.someTables("tidy", tidyTable)
	if onlyTidy := len(tidies) > 0 && values["watch"] == nil; !onlyTidy || values["artifacts"] != nil {
		cfg.Artifacts = readArtifacts(file.table("artifacts", artifactsTable), cfg)
	}
	retention := file.retention(Retention{})
	if len(tidies) == 0 || values["watch"] != nil {
		for _, s := range file.tables("watch", watchTable) {
			w := readWatch(s, cfg)
			w.Retention = s.retention(retention)
			cfg.Watches = append(cfg.Watches, w)
		}
	}
	for _, s := range file.someTables("store", storeTable) {
		cfg.Stores = append(cfg.Stores, readStore(s, cfg))
	}
	cfg.setPartSizes()
	for _, s := range tidies {
		cfg.Tidies = append(cfg.Tidies, readTidy(s, cfg))
	}
	checkTidies(tidies, cfg)
	for _, s := range file.someTables("push", pushTable) {
		cfg.Pushes = append(cfg.Pushes, readPush(s, cfg))
		if len(cfg.Pushes) == 1 && values["artifacts"] == nil && values["watch"] == nil {
			file.add(file.place("push"), "a [[push]] without [artifacts]", "a directory with bundles that can be sent")
		}
	}
	cfg.Limits = readLimits(file.table("limits", limitsTable))
	cfg.HTTP = readHTTP(file.table("http", httpTable))
	cfg.Status.Socket = file.table("status", statusTable).absolute("socket", cfg)
	cfg.Alerts = readAlerts(file.table("alerts", alertsTable))
	for _, s := range file.someTables("notify", notifyTable) {
		cfg.Notify = append(cfg.Notify, readNotify(s, cfg))
	}
	cfg.Sign = readSign(file.table("sign", signTable), cfg)
	if err := file.problems.orNil(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func readArtifacts(s section, cfg *Config) Artifacts {
	a := Artifacts{Dir: s.absolute("dir", cfg)}
	if s.values["budget"] == nil {
		return a
	}
	var ok bool
	if a.Budget, ok = s.size("budget"); ok && a.Budget == 0 {
		s.add(s.place("budget"), strconv.Quote("0"), sizeExample+"; leave it out for no budget")
	}
	return a
}

func syntaxProblem(path string, err error) error {
	problem := Problem{File: path, Line: 1, Found: "bad TOML", Expected: "the syntax that https://toml.io describes"}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		problem.Line = max(1, syntax.Position.Line)
		problem.Key = printable(syntax.LastKey)
		problem.Found += " (" + printable(syntax.Message) + ")"
	}
	return Problems{problem}
}

// absolute returns a path, taken relative to the folder of the file; "" if there is none.
func (s section) absolute(name string, cfg *Config) string {
	text, ok := s.text(name)
	if !ok {
		return ""
	}
	if filepath.IsAbs(text) {
		return filepath.Clean(text)
	}
	return filepath.Join(filepath.Dir(cfg.Path), text)
}

func readWatch(s section, cfg *Config) Watch {
	var w Watch
	w.Name, _ = s.name("name")
	if slices.ContainsFunc(cfg.Watches, func(other Watch) bool { return w.Name != "" && other.Name == w.Name }) {
		s.add(s.place("name"), fmt.Sprintf("%q, the name of an earlier watch", w.Name), "a name of its own")
	}
	w.Root = s.absolute("root", cfg)
	s.choice("source", &w.Source)
	w.Settle = s.duration("settle", minSettle)
	w.Expire = s.duration("expire", 1)
	w.Rescan = s.duration("rescan", 1)
	w.PollOps = int(s.integer("poll_ops", 60, 100_000_000))
	w.Regroup = s.duration("regroup", 1)

	members := readMembers(s.table("members", membersTable))
	w.Members = members.list
	if text, ok := s.text("marker"); ok {
		if w.Marker = s.compileFiles(s.place("marker"), text); w.Marker != nil {
			members.checkUse(s.place("marker"), w.Marker)
		}
	}
	w.Code = s.absolute("code", cfg)
	w.IgnoreWriters = s.flag("ignore_writers")
	w.Config = readSnapshot(s.table("config", snapshotTable), members)
	w.Payload = readPayload(s.table("payload", payloadTable))
	checkOverlap(s, w, cfg.Artifacts.Dir)
	return w
}

func readSnapshot(s section, members members) Snapshot {
	snapshot := Snapshot{Files: s.boundFiles("files", members), Metrics: s.boundFiles("metrics", members)}
	s.choice("preset", &snapshot.Preset)
	s.texts("required", func(_ place, text string) {
		snapshot.Required = append(snapshot.Required, text)
	})
	return snapshot
}

// boundFiles returns patterns of files, whose placeholders are among those of the members.
func (s section) boundFiles(name string, members members) []*pattern.Pattern {
	var files []*pattern.Pattern
	s.texts(name, func(at place, text string) {
		if p := s.compileFiles(at, text); p != nil {
			members.checkUse(at, p)
			files = append(files, p)
		}
	})
	return files
}

func readPayload(s section) Payload {
	var payload Payload
	s.choice("keep", &payload.Keep)
	s.choice("imports", &payload.Imports)
	payload.Select, _ = s.text("select")
	return payload
}
