package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/signature"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// job is one set to be bundled. It holds copies, so that the owner of the sets can go on.
type job struct {
	watch    config.Watch
	key      string
	captures pattern.Captures
	files    map[string]*file // by role
	first    []snapshot.File  // the config when the first member appeared; nil when that is not known
	notes    []string
	work     *work
}

// marker names the marker file that was there, for the manifest; "" when the watch has none.
func (j *job) marker() string {
	if j.watch.Marker == nil {
		return ""
	}
	g, err := j.watch.Marker.Bind(j.captures)
	if err != nil {
		return ""
	}
	return g.String()
}

// outcome is what became of a job. With neither error nor manifest, somebody else had published the
// same content.
type outcome struct {
	manifest *bundle.Manifest
	path     string          // of the bundle
	config   []snapshot.File // as it was frozen; nil when the attempt did not come that far
	took     time.Duration
	named    time.Duration // of it, to give the bundle its name
	unsynced error         // why the name of the bundle may be lost with the power
	err      error
}

// packer makes bundles, several at a time.
type packer struct {
	store    *store.Local
	tool     string
	host     string
	opts     Options
	progress Progress
	room     *room
	throttle *throttle
	key      atomic.Pointer[signature.PrivateKey] // nil leaves bundles unsigned
	witness  *provenance.Witness                  // nil for none
}

// work is how a pack is going. It may be looked at from any goroutine.
type work struct {
	watch, key  string
	begun       time.Time
	pulse       *pulse
	total, done atomic.Int64 // bytes of members; total is 0 until it is known
	stalled     atomic.Bool
}

func newWork(j *job, opts Options) *work {
	return &work{watch: j.watch.Name, key: j.key, begun: opts.now(), pulse: newPulse(opts)}
}

// pack bundles a set. A kept file whose name was removed while it was read is read again: the removal
// moves ctime, as a change does.
func (p *packer) pack(ctx context.Context, j *job) outcome {
	defer p.throttle.begin()()
	begin := p.opts.now()
	const attempts = 3
	var out outcome
	for range attempts {
		out = p.attempt(ctx, j)
		if !errors.Is(out.err, errUnlinked) {
			break
		}
	}
	out.took = p.opts.now().Sub(begin)
	return out
}

// errUnlinked tells that names of a kept file were removed or changed while it was read.
var errUnlinked = fmt.Errorf("%w: a name of it was removed", errChanged)

// source is a member that is open for reading.
type source struct {
	role    string
	file    *file
	opened  []*opened
	content *content
	proof   string // that nothing changed while it was read
}

func (p *packer) attempt(ctx context.Context, j *job) outcome {
	sources, err := openSources(j, p.access(ctx, j))
	defer func() {
		for _, s := range sources {
			closeAll(s.opened)
		}
	}()
	if err != nil {
		return outcome{err: err}
	}
	frozen, err := j.freeze()
	if err != nil {
		return outcome{err: err}
	}
	c, err := contents(j, sources, frozen)
	if err != nil {
		return outcome{err: err, config: frozen}
	}
	defer j.work.pulse.call("write below", p.store.Dir())()
	stage, err := p.store.Stage()
	if err != nil {
		return outcome{err: &artifactError{err}}
	}
	out := p.publish(ctx, j, sources, c, stage)
	if out.manifest == nil {
		out.err = errors.Join(out.err, stage.Discard())
	}
	return out
}

// access is how a job reads: in sight, and no faster than the limit.
func (p *packer) access(ctx context.Context, j *job) access {
	return access{root: j.watch.Root, pulse: j.work.pulse, wait: func(bytes int) error {
		return p.throttle.wait(ctx, bytes, j.work.pulse.turned)
	}}
}

func (j *job) freeze() ([]snapshot.File, error) {
	defer j.work.pulse.call("freeze the config", j.watch.Root)()
	return freeze(j.watch, j.captures)
}

// openedAtOnce is the number of members that are opened at the same time: more would take memory for more of them.
const openedAtOnce = 2

// openSources opens the members of a job. What it returns is to be closed, after an error as well.
func openSources(j *job, a access) ([]*source, error) {
	var all []*source
	for _, m := range j.watch.Members {
		if !m.Sentinel {
			all = append(all, &source{role: m.Role, file: j.files[m.Role]})
		}
	}
	errs := make([]error, len(all))
	var opening sync.WaitGroup
	places := make(chan struct{}, openedAtOnce)
	for i, s := range all {
		places <- struct{}{}
		opening.Go(func() {
			defer func() { <-places }()
			if err := s.open(a, j.watch.Payload); err != nil {
				errs[i] = &memberError{role: s.role, path: s.file.path, err: err}
			}
		})
	}
	opening.Wait()
	for _, err := range errs {
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// open reads a member and makes sure that it is what was proved.
func (s *source) open(a access, p config.Payload) error {
	if err := s.read(a, p); err != nil {
		return err
	}
	if s.content.fingerprint() != s.file.fingerprint {
		return fmt.Errorf("%w: the content is another", errChanged)
	}
	return nil
}

// read opens the files of a member and lays out what travels.
func (s *source) read(a access, p config.Payload) (err error) {
	if s.file.leaves != nil {
		s.content, s.opened, err = readTree(a, s.file, p)
		return err
	}
	h, err := a.open(s.file)
	if err != nil {
		return err
	}
	before, err := watch.StatFile(h)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	o := newOpened(a, s.file.path, h, before, s.file.crcs)
	s.opened = []*opened{o}
	if !o.before.Same(s.file.stat) && !s.file.onlyNames(a.root, s.file.stat, o.before) {
		return errChanged
	}
	s.content, err = read(o.reader, filepath.Base(s.file.path), o.before.Size, p)
	return err
}

// memberError says which member an error is about.
type memberError struct {
	role, path string
	err        error
}

func (e *memberError) Error() string { return fmt.Sprintf("%s: %q: %v", e.role, e.path, e.err) }

func (e *memberError) Unwrap() error { return e.err }

// contents puts together what goes into the archive.
func contents(j *job, sources []*source, frozen []snapshot.File) (*bundle.Contents, error) {
	input, err := snapshotInput(j.watch, frozen, sources)
	if err != nil {
		return nil, err
	}
	snap, err := snapshot.Translate(input)
	if err != nil {
		return nil, err
	}
	c := &bundle.Contents{Watch: j.watch.Name, Key: j.key, Params: snap.Params, ParamsSource: snap.Source, Config: archived(frozen),
		PartSize: j.watch.PartSize}
	if j.first != nil && changed(j.first, frozen) {
		c.FirstConfig, c.ConfigChanged = archived(j.first), true
	}
	if c.HyperParameters, err = hyperFiles(input.Hypers); err != nil {
		return nil, err
	}
	for _, n := range snap.Notes {
		c.Notes = append(c.Notes, describeNote(n))
	}
	c.Notes = append(append(c.Notes, importNotes(sources)...), j.notes...)
	if snap.Scaling != nil {
		if c.Scaling, err = scaling(snap.Scaling, sources); err != nil {
			return nil, err
		}
	}
	return c, addParts(c, j, sources)
}

// importNotes warns of what imports = "warn" lets pass: imports that travel although tensors do not need them, and calls
// in what does not travel.
func importNotes(sources []*source) []string {
	var notes []string
	for _, s := range sources {
		if len(s.content.foreign) > 0 {
			notes = append(notes, fmt.Sprintf("warning: %s: its pickle imports %s, which tensors do not need and torch.load(weights_only=True) refuses",
				s.role, strings.Join(s.content.foreign, ", ")))
		}
		for _, call := range s.content.calls {
			notes = append(notes, fmt.Sprintf("warning: %s: %s, which runs programs or code when the source is loaded; it does not travel", s.role, call))
		}
	}
	return notes
}

func addParts(c *bundle.Contents, j *job, sources []*source) error {
	for _, m := range j.watch.Members {
		if m.Sentinel {
			payload, err := checkpoint.Save(checkpoint.SentinelDict(m.Role))
			if err != nil {
				return err
			}
			c.Parts = append(c.Parts, bundle.Model(payload, bundle.Member{Role: m.Role, Payload: bundle.PayloadSentinel, Tensors: checkpoint.ListTensors([]checkpoint.Tensor{})}))
			continue
		}
		c.Parts = append(c.Parts, find(sources, m.Role).part(j.watch.Root))
	}
	return nil
}

func find(sources []*source, role string) *source {
	for _, s := range sources {
		if s.role == role {
			return s
		}
	}
	return nil
}

func (s *source) part(root string) bundle.Part {
	m := bundle.Member{
		Role: s.role, Payload: s.content.payload, Format: s.content.format, StateDict: s.content.statePath, Tensors: s.content.tensors,
		Dropped: s.content.dropped, Imports: s.content.foreign, LeftBehind: s.content.leftBehind,
		Source: s.describe(filepath.Join(root, s.file.path)),
		Evidence: &bundle.Evidence{Quiet: s.file.evidence.Quiet.Round(time.Millisecond).String(), Closed: closed(s.file.evidence),
			Whole: s.content.whole},
	}
	if s.content.tree {
		m.Name = s.role + "/" + bundle.EntryName(treeName(root, s.file.path)) + "/"
	}
	return s.content.part(m)
}

// describe describes the source for the manifest.
func (s *source) describe(absolute string) *bundle.Source {
	if s.content.tree {
		return treeSource(absolute, s.file)
	}
	st := s.opened[0].before
	return &bundle.Source{Path: absolute, Size: st.Size, ModTime: time.Unix(0, st.ModTime).UTC(), ChTime: time.Unix(0, st.ChangeTime).UTC(),
		Device: st.Dev, Inode: st.Ino, UID: st.UID, Links: st.Nlink}
}

func closed(e watch.Evidence) string {
	if e.ClosedWhy == "" {
		return string(e.Closed)
	}
	return string(e.Closed) + ": " + e.ClosedWhy
}

// publish writes the bundle, makes sure that the sources did not change meanwhile, and gives it its
// name.
func (p *packer) publish(ctx context.Context, j *job, sources []*source, c *bundle.Contents, stage *store.Stage) outcome {
	size := c.Size()
	release, err := p.room.claim(size, filepath.Join(stage.Path, bundle.ArchiveName))
	if err != nil {
		return outcome{err: &artifactError{err}}
	}
	defer release()
	j.work.total.Store(size)
	j.work.done.Store(0)
	if p.progress != nil {
		p.progress.Begin(j.watch.Name, j.key, size)
		defer p.progress.End()
	}
	m, err := bundle.Pack(ctx, stage.Path, c, func(n int64) { p.advance(j, n) })
	if changed := j.unchanged(sources); changed != nil {
		return outcome{err: changed} // it also explains a CRC that does not match
	}
	if err != nil {
		return outcome{err: written(err, stage.Path)}
	}
	for i := range m.Members {
		if s := find(sources, m.Members[i].Role); s != nil {
			m.Members[i].Metrics = s.scores(j.watch, j.captures)
			m.Members[i].Evidence.Unchanged = s.proof
			m.Members[i].Evidence.Marker = j.marker()
		}
	}
	m.Tool, m.Captures = p.tool, captured(j.captures)
	shared := m.Provenance.Shared
	m.Provenance = p.provenance(ctx, j, sources)
	m.Provenance.Shared = shared
	begin := p.opts.now()
	out := p.name(j, m, stage)
	out.named = p.opts.now().Sub(begin)
	if out.manifest != nil {
		p.room.usage.published(out.path, p.opts.now())
	}
	return out
}

// advance notes that bytes were written.
func (p *packer) advance(j *job, n int64) {
	j.work.pulse.turned()
	j.work.done.Add(n)
	if p.opts.Metrics != nil {
		p.opts.Metrics.Packed(j.watch.Name, n)
	}
	if p.progress != nil {
		p.progress.Advance(n)
	}
}

// written tells an error of the artifact directory from one of a member.
func written(err error, stage string) error {
	var at *fs.PathError
	switch {
	case isVerdict(err), errors.Is(err, context.Canceled), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.As(err, &at) && !strings.HasPrefix(at.Path, stage): // reading a member
		return err
	}
	return &artifactError{err}
}

// unchanged compares descriptors and paths with what they were before the first byte was read.
func (j *job) unchanged(sources []*source) error {
	for _, s := range sources {
		over := j.work.pulse.call("stat", filepath.Join(j.watch.Root, s.file.path))
		text, err := s.unchanged(j.watch.Root)
		over()
		if err != nil {
			return &memberError{role: s.role, path: s.file.path, err: err}
		}
		s.proof = text
	}
	return nil
}

// unchanged returns what was compared, for the manifest.
func (s *source) unchanged(root string) (text string, err error) {
	for _, o := range s.opened {
		if text, err = s.file.unchanged(root, o); err != nil {
			return "", err
		}
	}
	return text, nil
}

func (f *file) unchanged(root string, o *opened) (string, error) {
	after, err := watch.StatFile(o.handle)
	if err != nil {
		return "", err
	}
	if f.onlyNames(root, o.before, after) {
		return "", errUnlinked
	}
	if !after.Same(o.before) {
		return "", errChanged
	}
	const compared = "size, mtime, ctime, device and inode of the descriptor before the first and after the last byte"
	named, err := watch.Lstat(root, o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.handle != nil:
		return compared + "; the trainer had removed the name by then", nil
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w: it is gone", errChanged)
	case err != nil:
		return "", err
	case !named.Same(after):
		return "", errChanged
	}
	return compared + ", and of what the path named", nil
}

// name publishes the stage under the first free version of the key, unless the same content is there.
func (p *packer) name(j *job, m *bundle.Manifest, stage *store.Stage) outcome {
	for {
		known, slot, err := versions(p.store, j.watch.Name, j.key)
		if err != nil {
			return outcome{err: err} // may be one manifest alone
		}
		for _, v := range known {
			if v.same(j.files) == len(j.files) {
				return outcome{path: v.path}
			}
		}
		m.Version = slot.Version
		if err := p.seal(stage, m, slot); err != nil {
			return outcome{err: &artifactError{err}}
		}
		err = stage.Publish(slot)
		switch {
		case errors.Is(err, store.ErrExists):
			continue
		case errors.Is(err, store.ErrUnsynced):
			return outcome{manifest: m, path: slot.Path, unsynced: err}
		case err != nil:
			return outcome{err: &artifactError{err}}
		}
		return outcome{manifest: m, path: slot.Path}
	}
}
