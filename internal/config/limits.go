package config

import (
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Limits say how much the daemon may take from the machine that trains.
type Limits struct {
	Workers int // bundles that are packed at the same time
	// CPU is how much of one processor the program takes on average while it packs, in percent: 0 for what suits who packs,
	// +Inf for no limit.
	CPU       float64
	ReadRate  int64 // bytes per second that all packs together read; 0 for no limit
	FreeSpace Floor
	KeptFiles int // descriptors of finished members that are kept open; 0 for what suits RLIMIT_NOFILE
}

// Floor is how much of the artifact file system must stay free. The zero value is no floor.
type Floor struct {
	Bytes   int64
	Percent float64 // of the file system's size; used when Bytes is 0
}

// Of returns the floor in bytes on a file system of the given size.
func (f Floor) Of(size int64) int64 {
	if f.Bytes > 0 {
		return f.Bytes
	}
	return int64(f.Percent / 100 * float64(size))
}

// HTTP says where metrics, health and the page are served.
type HTTP struct {
	Listen string   // host:port, never without a host; "" for nowhere
	Page   bool     // the page for people, too
	Hosts  []string // names in lower case that requests may be addressed to, besides addresses and localhost
}

// Status says where `bundlewatch status` finds the daemon.
type Status struct {
	Socket string // absolute; "" for the usual place
}

// maxWorkers bounds what packs take: 4 MiB of buffers each.
const maxWorkers = 64

var limitsTable = tableDoc{
	header:  "[limits]",
	meaning: "How much bundlewatch may take from the machine that trains. All of it can be changed by a reload.",
	keys: []keyDoc{
		{
			name: "workers", kind: "integer", initial: "2",
			meaning: "How many bundles are packed at the same time, over all watches, which take turns. From 1 to 64. `bundlewatch once` packs one after the other.",
		},
		{
			name: "cpu", kind: "percentage",
			meaning: "How much of one processor bundlewatch takes on average while it packs, such as `\"25%\"`; `\"200%\"` is two, `\"0%\"` is no limit. " +
				"Without it `\"40%\"`, so that training on the same machine [does not notice](benchmarks.md#quiet), and no limit for `bundlewatch once`. A " +
				"[drain](drain.md) is not limited.",
		},
		{
			name: "read_rate", kind: "size", initial: "0",
			meaning: "How many bytes all packs together read in a second, such as `\"200MiB\"`. `\"0\"` is no limit.",
		},
		{
			name: "free_space", kind: "size or percentage", initial: "0",
			meaning: "How much of the artifact file system must stay free, such as `\"5GiB\"` or `\"5%\"`. Below that nothing is started, and a " +
				"bundle is not started either when it would not fit above it. `\"0\"` is no floor.",
		},
		{
			name: "kept_files", kind: "integer",
			meaning: "How many descriptors of finished members are kept open over all watches while their sets wait, so that a rotation " +
				"cannot take the content away. Members beyond that are opened and proven again when their set is complete. " +
				"Without it half of the limit of open files (`RLIMIT_NOFILE`), at most 65536.",
		},
	},
}

var httpTable = tableDoc{
	header: "[http]",
	meaning: "A page for people (`/`, see [page](page.md)), metrics for Prometheus (`/metrics`) and health (`/healthz`, `/readyz`). Off unless " +
		"`listen` is set. All of it can be changed by a reload.",
	keys: []keyDoc{
		{
			name: "listen", kind: "address",
			meaning: "Where to listen, such as `\"127.0.0.1:9464\"`. `\":9464\"` is the loopback address, too: other interfaces must be written " +
				"out, as `\"0.0.0.0:9464\"`. Whoever reaches it can read names of files.",
		},
		{
			name: "page", kind: "boolean", initial: "true",
			meaning: "Whether the page for people is served, too. `false` leaves metrics and health, which name no file.",
		},
		{
			name: "hosts", kind: "array of names",
			meaning: "Names that browsers may call the server by, such as `[\"bundles.example.org\"]` behind a reverse proxy, without ports. Addresses and " +
				"`localhost` are always right. On a loopback address every other name is sent away, so that no web page can read this one by pointing a name " +
				"of its own here; on other addresses any name is right while there is no `hosts`.",
		},
	},
}

var statusTable = tableDoc{
	header:  "[status]",
	meaning: "Where `bundlewatch status` asks the daemon.",
	keys: []keyDoc{
		{
			name: "socket", kind: "path",
			meaning: "The unix socket of the daemon, made with mode 0660. Without it a name derived from `artifacts.dir`, in `$RUNTIME_DIRECTORY`, else " +
				"in `/run/bundlewatch` for root, else in `$XDG_RUNTIME_DIR/bundlewatch`.",
		},
	},
}

func readLimits(s section) Limits {
	var l Limits
	l.Workers = int(s.integer("workers", 1, maxWorkers))
	l.CPU = s.cpu("cpu")
	l.ReadRate, _ = s.size("read_rate")
	l.FreeSpace = s.floor("free_space")
	l.KeptFiles = int(s.integer("kept_files", 1, math.MaxInt32))
	return l
}

func readHTTP(s section) HTTP {
	text, ok := s.text("listen")
	if !ok {
		return HTTP{}
	}
	host, port, err := net.SplitHostPort(text)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n > math.MaxUint16 {
		s.add(s.place("listen"), strconv.Quote(text), `an address with a port number, such as "127.0.0.1:9464"`)
		return HTTP{}
	}
	if host == "" {
		host = "127.0.0.1"
	}
	h := HTTP{Listen: net.JoinHostPort(host, port), Page: true}
	if _, given := s.values["page"]; given {
		h.Page = s.flag("page")
	}
	s.texts("hosts", func(at place, text string) {
		if !hostSyntax.MatchString(text) {
			s.add(at, strconv.Quote(text), `the name of a host without a port, such as "bundles.example.org"`)
		}
		h.Hosts = append(h.Hosts, strings.ToLower(text))
	})
	return h
}

var hostSyntax = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// integer returns a whole number within bounds, its default, or 0 where there is none.
func (s section) integer(name string, atLeast, atMost int64) int64 {
	value, given := s.values[name]
	if !given {
		n, _ := strconv.ParseInt(s.doc.key(name).initial, 10, 64)
		return n
	}
	n, ok := value.(int64)
	if !ok || n < atLeast || n > atMost {
		s.add(s.place(name), describe(value), fmt.Sprintf("a whole number from %d to %d", atLeast, atMost))
		return 0
	}
	return n
}

const sizeExample = `a size with its unit in quotes, such as "64MiB" or "2GB"`

// size returns a number of bytes.
func (s section) size(name string) (int64, bool) {
	text, ok := s.unitText(name, sizeExample)
	if !ok {
		return 0, false
	}
	n, ok := parseSize(text)
	if !ok {
		s.add(s.place(name), strconv.Quote(text), sizeExample)
	}
	return n, ok
}

func (s section) floor(name string) Floor {
	const expected = `a size or a percentage in quotes, such as "5GiB" or "5%"`
	text, ok := s.unitText(name, expected)
	if !ok {
		return Floor{}
	}
	if strings.HasSuffix(text, "%") {
		percent, ok := parsePercent(text, 100)
		if !ok {
			s.add(s.place(name), strconv.Quote(text), `a percentage from "0%" to "100%"`)
			return Floor{}
		}
		return Floor{Percent: percent}
	}
	n, ok := parseSize(text)
	if !ok {
		s.add(s.place(name), strconv.Quote(text), expected)
	}
	return Floor{Bytes: n}
}

// In percent of a processor: less than the least would wait so long for every byte that nothing else is noticed meanwhile,
// and no machine has more than the most.
const (
	leastCPU = 0.001
	mostCPU  = 1_000_000
)

// cpu returns a percentage of one processor, +Inf for no limit.
func (s section) cpu(name string) float64 {
	const expected = `a percentage of one processor in quotes, such as "50%", at least "0.001%", or "0%"`
	text, ok := s.unitText(name, expected)
	if !ok {
		return 0
	}
	percent, ok := parsePercent(text, mostCPU)
	if !ok || percent > 0 && percent < leastCPU {
		s.add(s.place(name), strconv.Quote(text), expected)
	}
	if percent == 0 {
		return math.Inf(1)
	}
	return percent
}

// parsePercent reads a number from 0 to atMost with its unit.
func parsePercent(text string, atMost float64) (float64, bool) {
	number, isPercent := strings.CutSuffix(text, "%")
	percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	return percent, isPercent && err == nil && percent >= 0 && percent <= atMost
}

// unitText returns a string or its default; a number without a unit is told to be one.
func (s section) unitText(name, expected string) (string, bool) {
	if value, given := s.values[name]; given {
		if _, isText := value.(string); !isText {
			s.add(s.place(name), describe(value), expected)
			return "", false
		}
	}
	return s.text(name)
}

var sizeSyntax = regexp.MustCompile(`^(\d{1,15}(?:\.\d{1,6})?) ?(B|[kKMGT]B|[KMGT]iB)$`)

// parseSize reads a number of bytes with its unit: B, kB, MB, GB, TB in powers of 1000, KiB, MiB, GiB, TiB
// of 1024.
func parseSize(text string) (int64, bool) {
	if text == "0" {
		return 0, true
	}
	parts := sizeSyntax.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return 0, false
	}
	base := 1000.0
	if strings.HasSuffix(parts[2], "iB") {
		base = 1024
	}
	n *= math.Pow(base, float64(strings.Index("BKMGT", strings.ToUpper(parts[2][:1]))))
	if n >= math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}
