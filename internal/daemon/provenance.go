package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// maxRepositories is how many repositories a manifest names.
const maxRepositories = 4

// provenance tells where a bundle comes from, as far as that can be seen now.
func (p *packer) provenance(ctx context.Context, j *job, sources []*source) bundle.Provenance {
	member := filepath.Join(j.watch.Root, sources[0].file.path)
	out := bundle.Provenance{Published: p.opts.now().UTC().Truncate(time.Millisecond), Host: p.host, Root: j.watch.Root,
		Kernel: provenance.Kernel(), GPUs: provenance.GPUs("/"), Writers: p.writers(ctx, j, sources)}
	if j.watch.Code != "" {
		out.Git = append(out.Git, j.code())
	}
	if r, ok := j.repository(filepath.Dir(member)); ok {
		r.Of, out.GitCommit = "run", r.Commit
		out.Git = append(out.Git, r)
	}
	for _, dir := range workingDirs(out.Writers) {
		if r, ok := j.repository(dir); ok {
			r.Of = "writer"
			out.Git = append(out.Git, r)
		}
	}
	out.Git = distinct(out.Git)
	return out
}

// workingDirs are the first few directories in which processes work.
func workingDirs(writers []provenance.Writer) []string {
	var dirs []string
	for _, w := range writers {
		if dir := w.Dir(); dir != "" && !slices.Contains(dirs, dir) && len(dirs) < maxRepositories {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// distinct leaves out what was found before in another way.
func distinct(all []provenance.Repository) []provenance.Repository {
	var found []provenance.Repository
	for _, r := range all {
		known := slices.ContainsFunc(found, func(o provenance.Repository) bool { return o.Path == r.Path })
		if !known && len(found) < maxRepositories {
			found = append(found, r)
		}
	}
	return found
}

// code is the repository that the config names. Where there is none, the manifest says so.
func (j *job) code() provenance.Repository {
	r, ok := j.repository(j.watch.Code)
	if !ok {
		r = provenance.Repository{Path: provenance.Clip(j.watch.Code), Dirty: "unknown: no git repository that can be read"}
	}
	r.Of = "code"
	return r
}

// repository finds the one around a directory.
func (j *job) repository(dir string) (provenance.Repository, bool) {
	defer j.work.pulse.call("read the repository around", dir)()
	return provenance.Find(dir)
}

// writers are the processes that were seen writing the members, or write something else of the run.
func (p *packer) writers(ctx context.Context, j *job, sources []*source) []provenance.Writer {
	if j.watch.IgnoreWriters {
		return nil
	}
	var files []provenance.File
	for _, s := range sources {
		for _, o := range s.opened {
			files = append(files, provenance.File{Path: filepath.Join(j.watch.Root, o.path), Dev: o.before.Dev, Ino: o.before.Ino})
		}
	}
	root, dir := j.runDir(sources[0].file.path)
	return p.witness.Writers(ctx, files, root, dir)
}

// runDir returns the root, and the directory that holds files of the run and of no other one, "" when there is none: what {run} captured,
// or where the member lies. Both are without symbolic links, as processes show the paths of their files.
func (j *job) runDir(member string) (root, dir string) {
	defer j.work.pulse.call("resolve", j.watch.Root)()
	root, err := filepath.EvalSymlinks(j.watch.Root)
	if err != nil {
		return "", ""
	}
	run, _ := j.captures.Value("run")
	switch above := filepath.Dir(member); {
	case run != "" && strings.HasPrefix(member, run+"/"):
		return root, filepath.Join(root, run)
	case run != "" && run == filepath.Base(j.watch.Root) && !strings.HasPrefix(member, run):
		return root, root
	case above != ".":
		return root, filepath.Join(root, above)
	}
	return root, ""
}

// witnessed lets the witness look for who writes a file, once for each time that it begins to change or is found open.
func (e *engine) witnessed(f watch.Fact) {
	if f.Kind == watch.Waiting && !e.watch.IgnoreWriters {
		e.opts.common.witness.See(provenance.File{Path: e.absolute(f.Path), Dev: f.Stat.Dev, Ino: f.Stat.Ino}, errors.Is(f.Reason, watch.ErrChanging))
	}
}
