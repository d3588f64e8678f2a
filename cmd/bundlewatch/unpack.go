package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

func runUnpack(ctx context.Context, args []string) error {
	f, err := parse("unpack", args, true, true)
	if err != nil {
		return err
	}
	if len(f.paths) != 2 {
		return &usageError{"unpack needs two paths: a bundle's directory or an archive, and a directory that is empty or does not exist"}
	}
	bar := newBar("unpacking")
	at, err := (&stores{config: f.config, bar: bar}).at(ctx, f.paths[0])
	if err != nil {
		return err
	}
	u, err := bundle.Unpack(ctx, at, f.paths[1])
	bar.End()
	if err != nil {
		return err
	}
	if f.json {
		err = json.NewEncoder(os.Stdout).Encode(struct {
			Path string `json:"path"`
			*bundle.Unpacked
		}{f.paths[1], u})
	} else {
		_, err = fmt.Printf("unpacked  %s (%s, %s)\n", visible(f.paths[1]), count(u.Files, "file"), status.Size(u.Bytes))
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func runCat(ctx context.Context, args []string) error {
	var binary bool
	var configFile string
	set := flag.NewFlagSet("cat", flag.ContinueOnError)
	set.BoolVar(&binary, "binary", false, "")
	set.StringVar(&configFile, "config", "", "")
	others, err := parseSet(set, args)
	if err != nil {
		return err
	}
	if len(others) != 2 {
		return &usageError{"cat needs a bundle's directory or an archive, and the name of an entry: bundlewatch inspect lists them"}
	}
	at, err := (&stores{config: configFile}).at(ctx, others[0])
	if err != nil {
		return err
	}
	e, err := bundle.OpenEntry(at, others[1])
	if err != nil {
		return err
	}
	defer e.Close()
	if term.IsTerminal(int(os.Stdout.Fd())) && !binary {
		return catText(ctx, e)
	}
	return e.Copy(ctx, os.Stdout)
}

// maxShown is the size of an entry above which it is not taken for a text to be read on a terminal.
const maxShown = 4 << 20

// catText writes an entry to a terminal when all of it is text that cannot steer one.
func catText(ctx context.Context, e *bundle.Entry) error {
	refuse := fmt.Errorf("show %q: it is no plain text, and standard output is a terminal: redirect it, or say --binary", e.Name)
	if e.Size > maxShown {
		return refuse
	}
	var text bytes.Buffer
	if err := e.Copy(ctx, &text); err != nil {
		return err
	}
	if !isPlainText(text.String()) {
		return refuse
	}
	_, err := io.Copy(os.Stdout, &text)
	return err
}

func isPlainText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) < 0
}
