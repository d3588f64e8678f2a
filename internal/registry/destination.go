package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// Destination is a repository that bundles are pushed to as they are published, each under its own tag.
type Destination struct {
	name string
	*Repository
}

// NewDestination returns the destination of that name.
func NewDestination(name string, r *Repository) *Destination { return &Destination{name, r} }

// Name implements [backlog.Destination].
func (d *Destination) Name() string { return d.name }

// Kind implements [backlog.Destination].
func (d *Destination) Kind() string { return "oci" }

// Address implements [backlog.Destination].
func (d *Destination) Address() string { return d.Repository.Name() }

// Has implements [backlog.Destination]. A bundle that another host made of the same files is there.
func (d *Destination) Has(ctx context.Context, b shelf.Bundle) (bool, error) {
	a, err := openLocal(b)
	if err != nil {
		return false, err
	}
	return d.Repository.Has(ctx, a, a.Tag)
}

// Send implements [backlog.Destination].
func (d *Destination) Send(ctx context.Context, b shelf.Bundle, progress func(int64)) error {
	a, err := openLocal(b)
	if err != nil {
		return err
	}
	err = d.Push(ctx, a, a.Tag, progress)
	var taken *TakenError
	if errors.As(err, &taken) && taken.SameArchive {
		return nil
	}
	return err
}

func openLocal(b shelf.Bundle) (*Artifact, error) {
	a, err := Open(b.Path)
	var pruned *bundle.PrunedError
	if errors.As(err, &pruned) {
		return nil, fmt.Errorf("%w: %w", backlog.ErrRefused, err)
	}
	return a, err
}
