package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/signature"
)

func runSign(ctx context.Context, args []string) error {
	var keyPath, output string
	f, err := parse("sign", args, true, true, func(set *flag.FlagSet) {
		set.StringVar(&keyPath, "key", "", "")
		set.StringVar(&output, "output", "", "")
	})
	if err != nil {
		return err
	}
	if len(f.paths) != 1 {
		return &usageError{"sign needs one path, of a bundle's directory"}
	}
	dir, err := filepath.Abs(f.paths[0])
	if err != nil {
		return fmt.Errorf("find %q: %w", f.paths[0], err)
	}
	if output == "" {
		output = filepath.Base(dir) + ".sig"
	}
	if err := outsideOfBundles(output); err != nil {
		return err
	}
	key, err := signingKey(keyPath, f.config)
	if err != nil {
		return err
	}
	return signBundle(ctx, dir, output, key, f.json)
}

// signingKey reads the key of the flag, else that of the config.
func signingKey(path, configPath string) (*signature.PrivateKey, error) {
	if path != "" {
		return signature.ReadPrivateKey(path)
	}
	c, err := load(configPath)
	if err != nil {
		return nil, err
	}
	key, err := daemon.SigningKey(c)
	if err == nil && key == nil {
		err = fmt.Errorf("%w: %q has no [sign] key, and no --key was given", errConfig, c.Path)
	}
	return key, err
}

// checkKey makes sure that the key of a config can be used. Whoever runs check needs not be allowed to read it.
func checkKey(c *config.Config) error {
	_, err := daemon.SigningKey(c)
	if errors.Is(err, fs.ErrPermission) {
		fmt.Fprintf(os.Stderr, "warning   sign.key was not checked, because only others may read it: %s\n", visible(err.Error()))
		return nil
	}
	return err
}

// outsideOfBundles makes sure that a signature is not written into a bundle: a published one never changes.
func outsideOfBundles(output string) error {
	dir, err := filepath.Abs(filepath.Dir(output))
	if err != nil {
		return fmt.Errorf("find %q: %w", output, err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("write signature %q: %w", output, err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if bundle.LooksLikeBundle(dir) {
			return fmt.Errorf("write signature %q: %q is a bundle, and a published bundle never changes: name a file elsewhere with --output", output, dir)
		}
	}
	return nil
}

// signBundle proves a bundle whole, and signs all of its files, a signature that it has among them.
func signBundle(ctx context.Context, dir, output string, key *signature.PrivateKey, asJSON bool) error {
	if !bundle.LooksLikeBundle(dir) {
		return fmt.Errorf("sign %q: there is no bundle in it", dir)
	}
	r, err := bundle.Verify(ctx, dir)
	if err == nil && r.OK() && r.Kind != "bundle" {
		err = fmt.Errorf("it is no whole bundle's directory, but: %s", r.Kind)
	}
	if err != nil {
		return fmt.Errorf("sign %q: %w", dir, err)
	}
	if !r.OK() {
		return showBad(r)
	}
	found, err := signature.Look(ctx, dir, "")
	if err == nil && len(found.Problems) > 0 {
		r.Problems = found.Problems
		return showBad(r)
	}
	if err != nil {
		return fmt.Errorf("sign %q: %w", dir, err)
	}
	text, err := signature.Sign(key, signature.Statement{Subject: filepath.Base(dir), Files: found.Files})
	if err != nil {
		return err
	}
	if err := signature.WriteNew(output, text, 0o644); err != nil {
		return fmt.Errorf("write signature: %w", err)
	}
	return tellSigned(asJSON, dir, output, len(found.Files), key.Public())
}

// showBad names what is wrong with a bundle.
func showBad(r *bundle.Report) error {
	for _, p := range r.Problems {
		fmt.Fprintf(os.Stderr, "bad       %s: %s\n", visible(r.Path), visible(p))
	}
	return errPartial
}

func tellSigned(asJSON bool, dir, output string, files int, key *signature.PublicKey) (err error) {
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(struct {
			Path      string `json:"path"`
			Signature string `json:"signature"`
			Files     int    `json:"files"`
			SignedBy  string `json:"signed_by"`
		}{dir, output, files, key.Fingerprint()})
	} else {
		_, err = fmt.Printf("signed    %s -> %s (%s, key %.12s…)\n", visible(dir), visible(output), count(files, "file"), key.Fingerprint())
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// signedDirectory is what a signature was checked of that is no bundle.
const signedDirectory = "signed directory"

// prover checks signatures: of model.sig in each bundle, or of one file that lies elsewhere.
type prover struct {
	key      *signature.PublicKey
	detached string // "" for model.sig
}

// newProver reads the key that the user trusts.
func newProver(key, detached string, paths []string) (*prover, error) {
	switch {
	case key == "" && detached != "":
		return nil, &usageError{"verify: --signature needs --key, the public key that you trust"}
	case key == "":
		return nil, nil
	case detached != "" && len(paths) != 1:
		return nil, &usageError{"verify: --signature is of one bundle: give one path"}
	}
	k, err := signature.ReadPublicKey(key)
	if err != nil {
		return nil, err
	}
	return &prover{key: k, detached: detached}, nil
}

// find returns what is to be proven at and below a path. With a signature of its own a directory needs not be a
// bundle.
func (p *prover) find(path string) ([]string, error) {
	if p != nil {
		if _, err := os.Lstat(filepath.Join(path, signature.FileName)); p.detached != "" || err == nil {
			return []string{path}, nil
		}
	}
	return bundle.Find(path)
}

// prove checks the signature of a directory, and that it holds what was signed and nothing else. named tells that
// the user named the directory itself: a bundle that lost its archive is not what was signed then. Nothing else
// of the directory is parsed before that.
func (p *prover) prove(ctx context.Context, path string, named bool) (*bundle.Report, error) {
	r := &bundle.Report{Path: path, Kind: signedDirectory, Problems: []string{}}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		r.Kind = "file"
		r.Problems = append(r.Problems, "it is a file, and what is signed is a directory: name that")
		return r, nil
	}
	file, own := p.place(path)
	s, err := p.open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.detached == "":
		r.Problems = append(r.Problems, "it has no "+signature.FileName+": it was not signed, or the signature was taken away")
		return r, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		r.Problems = append(r.Problems, err.Error())
		return r, nil
	}
	found, err := p.check(ctx, s, path, own, named)
	if err != nil {
		return nil, err
	}
	r.Problems, r.Entries, r.Bytes, r.SignedBy = found.Problems, len(found.Files), found.Bytes, p.key.Fingerprint()
	return r, nil
}

func (p *prover) open(file string) (*signature.Statement, error) {
	e, err := signature.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return e.Verify(p.key)
}

// place returns the file of the signature, and its name in the directory, "" when it lies elsewhere.
func (p *prover) place(dir string) (file, own string) {
	if p.detached == "" {
		return filepath.Join(dir, signature.FileName), signature.FileName
	}
	real, err := filepath.EvalSymlinks(dir)
	at, atErr := filepath.EvalSymlinks(filepath.Dir(p.detached))
	if err != nil || atErr != nil {
		return p.detached, ""
	}
	real, err = filepath.Abs(real)
	at, atErr = filepath.Abs(at)
	if rel, relErr := filepath.Rel(real, filepath.Join(at, filepath.Base(p.detached))); errors.Join(err, atErr, relErr) == nil && filepath.IsLocal(rel) {
		return p.detached, filepath.ToSlash(rel)
	}
	return p.detached, ""
}

// check holds a directory against what was signed. Of a pruned bundle that was found below what the user named,
// what is left is proven.
func (p *prover) check(ctx context.Context, s *signature.Statement, dir, own string, named bool) (*signature.Content, error) {
	pruned := bundle.IsTombstone(dir)
	if !pruned || named {
		found, err := s.Check(ctx, dir, own)
		if err == nil && pruned {
			found.Problems = append(found.Problems, "it was pruned, so it is not what was signed any more: verify without --key proves what is left")
		}
		return found, err
	}
	s.Files = slices.DeleteFunc(s.Files, func(f signature.File) bool { return f.Name == bundle.ArchiveName })
	return s.Check(ctx, dir, own, bundle.TombstoneName)
}

// report proves a bundle, its signature first when there is a key.
func (p *prover) report(ctx context.Context, path string, named bool) (*bundle.Report, error) {
	if p == nil {
		return bundle.Verify(ctx, path)
	}
	signed, err := p.prove(ctx, path, named)
	if err != nil || !signed.OK() || !bundle.LooksLikeBundle(path) {
		return signed, err
	}
	r, err := bundle.Verify(ctx, path)
	if r != nil {
		r.SignedBy = signed.SignedBy
	}
	return r, err
}
