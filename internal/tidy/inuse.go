package tidy

import (
	"path"

	"github.com/bundlewatch/bundlewatch/internal/lease"
	"github.com/bundlewatch/bundlewatch/internal/tree"
)

// inUse refuses a stray that any process has open, or has its working directory in.
func (s *stray) inUse() error {
	switch s.shape {
	case shapeFile:
		use, err := probe(s.dir, s.name)
		if err != nil || use == lease.Nobody {
			return err
		}
		return s.users(use)
	case shapeDir:
		return s.insideInUse()
	}
	return nil
}

// users asks /proc who has the stray open. What is known from a lease holds even where /proc does not tell.
func (s *stray) users(use lease.Use) error {
	who := openBy(s)
	switch {
	case who != "":
		return leave("it is open in %s", who)
	case use == lease.Writers:
		return leave("a process has it open for writing")
	case use == lease.Readers:
		return leave("a process has it open")
	}
	return nil
}

func probe(dir *tree.Dir, name string) (lease.Use, error) {
	f, _, err := dir.OpenFile(name)
	if err != nil {
		return lease.Unknown, err
	}
	defer f.Close()
	return lease.Probe(f), nil
}

func (s *stray) insideInUse() error {
	top, err := s.dir.Sub(s.name)
	if err != nil {
		return err
	}
	defer top.Close()
	worst := lease.Unknown
	for _, e := range s.inside {
		if !e.stat.IsRegular() {
			continue
		}
		use, err := e.probe(top)
		if err != nil {
			return err
		}
		if worst = max(worst, use); worst == lease.Writers {
			break
		}
	}
	return s.users(worst)
}

func (e entry) probe(top *tree.Dir) (lease.Use, error) {
	dir, err := top.Descend(path.Dir(e.path))
	if err != nil {
		return lease.Unknown, err
	}
	defer dir.Close()
	return probe(dir, path.Base(e.path))
}
