package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runList(ctx context.Context, args []string) (err error) {
	l := &lister{now: time.Now()}
	if err := l.parse(args); err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	l.out = out
	defer func() { err = cmp.Or(err, out.Flush()) }()
	if err := l.list(ctx); err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	if l.verify && l.bad > 0 {
		return errPartial
	}
	return nil
}

// lister writes bundles one by one, or when they are to be sorted all at the end.
type lister struct {
	filter        filter
	json, verify  bool
	sort          string
	reverse       bool
	now           time.Time
	out           io.Writer
	n, bad        int
	bytes         int64
	headerWritten bool
}

func (l *lister) parse(args []string) error {
	set := flag.NewFlagSet("ls", flag.ContinueOnError)
	l.filter.flags(set)
	set.BoolVar(&l.json, "json", false, "")
	set.BoolVar(&l.verify, "verify", false, "")
	set.BoolVar(&l.reverse, "reverse", false, "")
	set.StringVar(&l.sort, "sort", "", "")
	others, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if err := l.filter.takeStore("ls", others); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "key", "published", "size"}, l.sort) {
		return &usageError{fmt.Sprintf("ls: --sort: found %q, expected key, published or size", l.sort)}
	}
	return l.filter.check(set, l.now)
}

func (l *lister) list(ctx context.Context) error {
	var all []shelf.Bundle
	each := l.show
	if l.sort != "" || l.reverse {
		each = func(b shelf.Bundle) error {
			all = append(all, b)
			return nil
		}
	}
	if err := l.filter.each(ctx, l.verify, each); err != nil {
		return err
	}
	l.order(all)
	for _, b := range all {
		if err := l.show(b); err != nil {
			return err
		}
	}
	return l.total()
}

// order sorts; without --sort the order is that of the places, which the walk has.
func (l *lister) order(all []shelf.Bundle) {
	slices.SortStableFunc(all, func(a, b shelf.Bundle) int {
		switch l.sort {
		case "published":
			return a.Published.Compare(b.Published)
		case "size":
			return cmp.Compare(a.Archive.Bytes, b.Archive.Bytes)
		}
		return 0
	})
	if l.reverse {
		slices.Reverse(all)
	}
}

// listed is a line of ls --json.
type listed struct {
	State     shelf.State    `json:"state"`
	Reason    string         `json:"reason,omitempty"`
	Pinned    bool           `json:"pinned"`
	Watch     string         `json:"watch"`
	Run       string         `json:"run"`
	Key       string         `json:"key"`
	Version   int            `json:"version"`
	Bytes     int64          `json:"bytes"`
	Published *time.Time     `json:"published,omitempty"`
	Age       int64          `json:"age_seconds"`
	Metrics   bundle.Metrics `json:"metrics,omitempty"`
	Path      string         `json:"path"`
}

func (l *lister) show(b shelf.Bundle) error {
	l.n++
	if b.State == shelf.Damaged {
		l.bad++
	}
	old := l.now.Sub(b.Published)
	if b.State != shelf.Pruned {
		l.bytes += b.Archive.Bytes
	}
	if l.json {
		line := listed{b.State, b.Reason, b.Pinned, b.Watch, b.Run, b.Key, b.Version, b.Archive.Bytes, &b.Published, int64(old.Seconds()), b.Metrics, b.Path}
		if b.Published.IsZero() {
			line.Published, line.Age = nil, 0
		}
		enc := json.NewEncoder(l.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(line)
	}
	if !l.headerWritten {
		l.headerWritten = true
		fmt.Fprintf(l.out, "%-8s  %-6s  %10s  %5s  %s\n", "STATE", "PINNED", "SIZE", "AGE", "WATCH  RUN  KEY")
	}
	ageText, pinned := age(old), ""
	if b.Published.IsZero() {
		ageText = "?"
	}
	if b.Pinned {
		pinned = "pinned"
	}
	_, err := fmt.Fprintf(l.out, "%-8s  %-6s  %10s  %5s  %s  %s  %s\n", b.State, pinned, status.Size(b.Archive.Bytes), ageText, visible(b.Watch), visible(cmp.Or(b.Run, "-")),
		visible(versionedKey(b)+explained(b)))
	return err
}

// versionedKey is the key, with the version of a bundle that is not the first of it.
func versionedKey(b shelf.Bundle) string {
	if b.Version > 1 {
		return fmt.Sprintf("%s~%d", b.Key, b.Version)
	}
	return b.Key
}

func explained(b shelf.Bundle) string {
	if b.State == shelf.Damaged {
		return ": " + b.Reason
	}
	return ""
}

func (l *lister) total() error {
	if l.json {
		return nil
	}
	_, err := fmt.Fprintf(l.out, "%s, %s\n", count(l.n, "bundle"), status.Size(l.bytes))
	return err
}

// errNone tells that there is no bundle that was asked for.
var errNone = errors.New("no such bundle")
