// Command testjson shows the output of `go test -json` as people read it: the output of what failed, a
// line for each package, and at the end every skipped test with its reason.
//
//	go test -json ./... | go run .ci/testjson.go
//
// It exits with 1 when a test or a package failed, or when no test ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

type report struct {
	output                  map[string][]string // by package and test, until it ends
	skips                   []string
	passed, failed, skipped int
	broken                  bool // a package failed to build or outside of its tests
}

func main() {
	r := report{output: map[string][]string{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testjson: error:", err)
		os.Exit(1)
	}
	for _, skip := range r.skips {
		fmt.Println("SKIP:", skip)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.broken || r.failed > 0 || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text()) // of the go command itself
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "build-fail":
		r.broken = true
	case "output":
		r.output[id] = append(r.output[id], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, id)
		} else {
			r.endTest(e, id)
		}
		delete(r.output, id)
	}
}

func (r *report) endTest(e event, id string) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Print(strings.Join(r.output[id], ""))
	case "skip":
		r.skipped++
		r.skips = append(r.skips, id+": "+reason(r.output[id]))
	}
}

func (r *report) endPackage(e event, id string) {
	lines := r.output[id]
	if e.Action == "fail" {
		r.broken = true
		fmt.Print(strings.Join(lines, ""))
		return
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "?") {
			fmt.Print(line)
		}
	}
}

// source is what t.Skip puts before its text: "    file_test.go:12: ".
var source = regexp.MustCompile(`^\s*\S+_test\.go:\d+: `)

func reason(lines []string) string {
	var text []string
	for _, line := range lines {
		if at := source.FindString(line); at != "" {
			text = []string{line[len(at):]}
		} else if text != nil && !strings.HasPrefix(strings.TrimSpace(line), "---") {
			text = append(text, line)
		}
	}
	return strings.Join(strings.Fields(strings.Join(text, " ")), " ")
}
