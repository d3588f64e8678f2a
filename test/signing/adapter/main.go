// Command adapter lets the public conformance suite of OpenSSF Model Signing drive internal/signature. It
// speaks the suite's protocol (docs/conformance_adapter_cli_protocol.md there) for the method "key".
//
// What a user of the suite asks to be left out is left out of a copy, which is then signed or checked as
// strictly as bundlewatch does it: there is no lenient way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/signature"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		os.Exit(1)
	}
}

// names collects a flag that is given several times.
type names []string

func (n *names) String() string { return strings.Join(*n, " ") }

// Set implements flag.Value.
func (n *names) Set(s string) error {
	*n = append(*n, s)
	return nil
}

// order is what the suite asks for.
type order struct {
	method, model, output, bundle, private, public string
	ignored                                        names
	ignoreUnsigned                                 bool
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("sign-model or verify-model")
	}
	var o order
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	for name, into := range map[string]*string{"method": &o.method, "model-path": &o.model, "output-bundle": &o.output, "bundle": &o.bundle,
		"private-key": &o.private, "public-key": &o.public} {
		set.StringVar(into, name, "", "")
	}
	set.Var(&o.ignored, "ignore-paths", "")
	set.BoolVar(&o.ignoreUnsigned, "ignore-unsigned-files", false, "")
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	if o.method != "key" {
		return fmt.Errorf("the method %q is not supported, only key", o.method)
	}
	work, err := os.MkdirTemp("", "bundlewatch-adapter-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	switch args[0] {
	case "sign-model":
		return o.sign(work)
	case "verify-model":
		return o.verify(work)
	}
	return fmt.Errorf("%s is not supported", args[0])
}

// copy copies the model into work, without what is to be left out.
func (o *order) copy(work string, besides ...string) (string, error) {
	dir := filepath.Join(work, filepath.Base(o.model))
	if err := os.CopyFS(dir, os.DirFS(o.model)); err != nil {
		return "", err
	}
	for _, path := range append(slices.Clone(o.ignored), besides...) {
		if rel, err := filepath.Rel(o.model, path); err == nil && filepath.IsLocal(rel) && rel != "." {
			if err := os.RemoveAll(filepath.Join(dir, rel)); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// ofGit are left out by every signer (section 6.2 of the specification).
var ofGit = []string{".git", ".gitignore", ".gitattributes", ".github"}

func (o *order) sign(work string) error {
	text, err := os.ReadFile(o.private) // whatever its mode: it comes out of a repository
	if err != nil {
		return err
	}
	key, err := signature.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	besides := []string{o.output}
	for _, name := range ofGit {
		besides = append(besides, filepath.Join(o.model, name))
	}
	dir, err := o.copy(work, besides...)
	if err != nil {
		return err
	}
	found, err := signature.Look(context.Background(), dir)
	if err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return errors.New(strings.Join(found.Problems, "; "))
	}
	text, err = signature.Sign(key, signature.Statement{Subject: filepath.Base(o.model), Files: found.Files, Ignored: o.leftOut()})
	if err != nil {
		return err
	}
	return os.WriteFile(o.output, text, 0o644)
}

// leftOut is what the signature says was left out.
func (o *order) leftOut() []string {
	all := slices.Clone(ofGit)
	for _, path := range o.ignored {
		if rel, err := filepath.Rel(o.model, path); err == nil && filepath.IsLocal(rel) {
			all = append(all, rel)
		}
	}
	return all
}

func (o *order) verify(work string) error {
	key, err := signature.ReadPublicKey(o.public)
	if err != nil {
		return err
	}
	e, err := signature.ReadFile(o.bundle)
	if err != nil {
		return err
	}
	s, err := e.Verify(key)
	if err != nil {
		return err
	}
	dir, err := o.copy(work, o.bundle)
	if err != nil {
		return err
	}
	if o.ignoreUnsigned {
		if err := keepSigned(dir, s); err != nil {
			return err
		}
	}
	found, err := s.Check(context.Background(), dir)
	if err == nil && len(found.Problems) > 0 {
		err = errors.New(strings.Join(found.Problems, "; "))
	}
	return err
}

// keepSigned removes files at the top of a directory that were not signed.
func keepSigned(dir string, s *signature.Statement) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		signed := slices.ContainsFunc(s.Files, func(f signature.File) bool { top, _, _ := strings.Cut(f.Name, "/"); return top == e.Name() })
		if !signed {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
