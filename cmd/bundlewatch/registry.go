package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/registry"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// registryFlags are the flags of verbs that talk to a registry.
type registryFlags struct {
	registry.Access
	json bool
}

// parseRegistry reads the flags of a verb that has two arguments.
func parseRegistry(verb, wants string, args []string) (f registryFlags, others []string, err error) {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.BoolVar(&f.json, "json", false, "")
	set.BoolVar(&f.PlainHTTP, "plain-http", false, "")
	set.StringVar(&f.CAFile, "ca-file", "", "")
	set.StringVar(&f.Credentials, "credentials", "", "")
	f.Agent = tool()
	others, err = parseSet(set, args)
	if err == nil && len(others) != 2 {
		err = &usageError{verb + " needs " + wants}
	}
	return f, others, err
}

// reference reads a reference from the command line.
func (f registryFlags) reference(verb, text string) (registry.Reference, error) {
	ref, err := registry.ParseReference(text)
	switch {
	case err != nil:
		return ref, &usageError{fmt.Sprintf("%s: %v", verb, err)}
	case f.PlainHTTP && !registry.IsLoopback(ref.Repository):
		return ref, &usageError{verb + ": --plain-http is for a registry on this machine: credentials and models go elsewhere over TLS alone"}
	}
	return ref, nil
}

func runPush(ctx context.Context, args []string) error {
	f, others, err := parseRegistry("push", "a bundle's directory, and where it goes: host/repository or host/repository:tag", args)
	if err != nil {
		return err
	}
	ref, err := f.reference("push", others[1])
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return &usageError{"push: a digest is what the bundle gets; give a tag or none"}
	}
	a, err := registry.Open(others[0])
	if err != nil {
		return err
	}
	own := ref.Tag == ""
	if own {
		ref.Tag = a.Tag
	}
	r := registry.NewRepository(ref.Repository, f.Access)
	defer r.Close()
	advance, end := transferBar("pushing", ref)
	err = persist(ctx, func() error {
		var done atomic.Int64
		return r.Push(ctx, a, ref.Tag, func(n int64) { advance(done.Add(n), a.Bytes) })
	})
	end()
	var taken *registry.TakenError
	if own && errors.As(err, &taken) && taken.SameArchive {
		fmt.Fprintf(os.Stderr, "bundlewatch: warning: %s\n", errorText(err))
		return f.tell("there", others[0], ref, string(taken.Have), nil, a.Bytes)
	}
	if err != nil {
		return err
	}
	return f.tell("pushed", others[0], ref, string(a.Digest), nil, a.Bytes)
}

func runPull(ctx context.Context, args []string) error {
	f, others, err := parseRegistry("pull", "what is pulled, host/repository:tag or host/repository@sha256:…, and a directory that is empty or does not exist", args)
	if err != nil {
		return err
	}
	ref, err := f.reference("pull", others[0])
	if err != nil {
		return err
	}
	what := ref.Digest
	if what == "" {
		what = ref.Tag
	}
	if what == "" {
		return &usageError{"pull: name a tag or a digest: there is no latest"}
	}
	r := registry.NewRepository(ref.Repository, f.Access)
	defer r.Close()
	advance, end := transferBar("pulling", ref)
	var pulled *registry.Pulled
	err = persist(ctx, func() (err error) {
		pulled, err = r.Pull(ctx, what, others[1], advance)
		return err
	})
	end()
	if err != nil {
		return err
	}
	for _, w := range pulled.Warnings {
		fmt.Fprintf(os.Stderr, "bundlewatch: warning: %s\n", visible(w))
	}
	return f.tell("pulled", others[1], ref, string(pulled.Digest), pulled.Files, pulled.Bytes)
}

// tell writes the result.
func (f registryFlags) tell(event, path string, ref registry.Reference, digest string, files []string, bytes int64) (err error) {
	if f.json {
		err = json.NewEncoder(os.Stdout).Encode(struct {
			Event  string   `json:"event"`
			Path   string   `json:"path"`
			Ref    string   `json:"ref"`
			Digest string   `json:"digest"`
			Bytes  int64    `json:"bytes"`
			Files  []string `json:"files,omitempty"`
		}{event, path, ref.String(), digest, bytes, files})
	} else {
		_, err = fmt.Printf("%-9s %s, %s %s (%s)\n", event, visible(path), visible(ref.String()), digest, status.Size(bytes))
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// attempts is how often a transfer is tried when the network or the registry have a bad moment.
const attempts = 5

// persist tries again what may go well the next time.
func persist(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || n == attempts || ctx.Err() != nil || !registry.Passing(err) || errors.Is(err, backlog.ErrRefused) {
			return err
		}
		pause := backlog.Pause(n + 1)
		fmt.Fprintf(os.Stderr, "bundlewatch: warning: %s; trying again in %s\n", errorText(err), pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// transferBar shows on a terminal how a transfer advances.
func transferBar(what string, ref registry.Reference) (advance func(done, total int64), end func()) {
	bar := newBar(what)
	begun, before := false, int64(0)
	return func(done, total int64) {
		if !begun || done < before {
			bar.Begin(ref.Repository, ref.Tag+ref.Digest, total)
			begun, before = true, 0
		}
		bar.Advance(done - before)
		before = done
	}, bar.End
}
