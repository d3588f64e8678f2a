// Command bench measures bundlewatch against what users would use instead, every command in turn in one run, and
// prints Markdown tables: medians, and ratios between figures of the same run. See docs/benchmarks.md.
//
//	bench/run.sh                   installs the peers where it can, and runs everything in its short form
//	go run ./bench -full           2 x 4 GiB, 100,000 directories: takes about an hour and 60 GiB
//	go run ./bench -quick          2 x 64 MiB alone
//	go run ./bench -only pack      one part: pack, share, scan, published, latency, victim or stores
//	go run ./bench -write          also puts the tables into docs/benchmarks.md, those of stores into docs/store.md
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "floor" {
		exit(floor(os.Args[2:]))
	}
	if len(os.Args) == 6 && os.Args[1] == "data" {
		exit(writeOne(os.Args[2:]))
	}
	if len(os.Args) == 5 && os.Args[1] == "read-loop" {
		exit(readLoop(os.Args[2], os.Args[3], os.Args[4]))
	}
	if len(os.Args) == 5 && os.Args[1] == "checkpoints" {
		exit(makeCheckpoints(os.Args[2:]))
	}
	b := &bench{}
	flag.StringVar(&b.dir, "dir", os.TempDir(), "where to work, on a disk")
	flag.IntVar(&b.runs, "runs", 5, "times that each command is run")
	flag.BoolVar(&b.full, "full", false, "the large sizes too")
	flag.BoolVar(&b.quick, "quick", false, "the small sizes alone")
	only := flag.String("only", "", "one part: "+strings.Join(partNames(), ", "))
	write := flag.Bool("write", false, "put the tables into the documents")
	flag.Parse()
	exit(b.run(*only, *write))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one run of the program.
type bench struct {
	dir     string // of this run
	program string // the bundlewatch binary
	self    string // this binary
	runs    int
	full    bool
	quick   bool
	out     strings.Builder // what was printed of this part
}

// part is something that can be measured, with its place in a page.
type part struct {
	name, page string
	measure    func(*bench) error
}

// parts are all of them, in order.
var parts = []part{
	{"pack", "docs/benchmarks.md", (*bench).pack},
	{"share", "docs/benchmarks.md", (*bench).share},
	{"scan", "docs/benchmarks.md", (*bench).scan},
	{"published", "docs/benchmarks.md", (*bench).published},
	{"latency", "docs/benchmarks.md", (*bench).latency},
	{"victim", "docs/benchmarks.md", (*bench).victim},
	{"stores", "docs/store.md", (*bench).stores},
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func (b *bench) run(only string, write bool) (err error) {
	if b.dir, err = os.MkdirTemp(b.dir, "bundlewatch-bench."); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(); err != nil {
		return err
	}
	if only != "" && !slices.Contains(partNames(), only) {
		return fmt.Errorf("there is no part %q; there are %s", only, strings.Join(partNames(), ", "))
	}
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		b.out.Reset()
		b.printf("%s\n", b.machine())
		if err := p.measure(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if !write {
			continue
		}
		if err := p.write(b.out.String()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) build() (err error) {
	b.program = filepath.Join(b.dir, "bundlewatch")
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "./cmd/bundlewatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build bundlewatch: %w\n%s", err, out)
	}
	return nil
}

// printf prints to standard output, and to the page.
func (b *bench) printf(format string, args ...any) {
	fmt.Printf(format, args...)
	fmt.Fprintf(&b.out, format, args...)
}

// write puts the tables of a part into its page.
func (p part) write(tables string) error {
	begin, end := fmt.Sprintf("<!-- %s: made by bench/run.sh -->\n", p.name), fmt.Sprintf("<!-- end of %s -->", p.name)
	page, err := os.ReadFile(p.page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the tables of %s", p.page, p.name)
	}
	return os.WriteFile(p.page, []byte(before+begin+"\n"+tables+"\n"+end+after), 0o644)
}
